//! `Intset` against `BTreeSet<i64>`: random programs, over each memory.

mod common;

use proptest::prelude::*;
use std::collections::BTreeSet;
use zmalloc_values::{Global, Intset, Memory};

#[test]
fn every_set_is_that_of_the_model() {
    fn check<M: Memory>() {
        let integer = prop_oneof![
            8 => -20..20i64,
            1 => any::<i16>().prop_map(i64::from),
            1 => any::<i32>().prop_map(i64::from),
            1 => any::<i64>(),
            1 => prop::sample::select(vec![i64::MIN, i64::MAX, -32_769, 32_768, -(1 << 31) - 1, 1 << 31]),
        ];
        common::check(300, &prop::collection::vec((0..3u8, integer), 1..80), play::<M>);
    }
    over_each_memory!(check);
}

fn play<M: Memory>(program: Vec<(u8, i64)>) -> Result<(), TestCaseError> {
    let (mut set, mut model, mut width) = (Intset::<M>::new(), BTreeSet::new(), 2);
    for (operation, integer) in program {
        if operation == 0 {
            prop_assert_eq!(set.remove(integer), model.remove(&integer));
        } else {
            prop_assert_eq!(set.insert(integer), model.insert(integer));
            width = width.max(if i16::try_from(integer).is_ok() {
                2
            } else if i32::try_from(integer).is_ok() {
                4
            } else {
                8
            });
        }
        prop_assert!(set.iter().eq(model.iter().copied()));
        prop_assert!(set.iter().rev().eq(model.iter().rev().copied()));
        prop_assert_eq!((set.len(), set.width(), set.is_empty()), (model.len(), width, model.is_empty()));
        prop_assert_eq!(set.contains(integer), model.contains(&integer));
        prop_assert_eq!(set.get(set.len() / 2), model.iter().nth(model.len() / 2).copied());
        prop_assert_eq!(Intset::<Global>::from_bytes(set.as_bytes()).map(|again| again.len()), Ok(model.len()));
    }
    Ok(())
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let mut set: Intset = Intset::new();
    assert!([5, -1, 300].into_iter().all(|integer| set.insert(integer)));
    assert_eq!(set.as_bytes(), [2, 0, 0, 0, 3, 0, 0, 0, 0xFF, 0xFF, 5, 0, 0x2C, 1]);
}
