//! The ledger equals the sum of the parts at any stop, and nothing is left after. One test: the ledger is the process's.

#![cfg(not(miri))]

mod common;

use proptest::prelude::*;
use zmalloc::Zmalloc;
use zmalloc::backend::{Backend, Jemalloc, Libc, PlainLibc, SizePrefix};
use zmalloc_values::{Hash, HyperLogLog, List, Object, Set, SortedSet, Thresholds};

#[test]
fn what_values_are_charged_is_what_the_ledger_holds() {
    check::<Libc>();
    check::<Jemalloc>();
    check::<SizePrefix<PlainLibc>>();
}

fn check<B: Backend>() {
    let few = Thresholds {
        list_listpack_bytes_max: 200,
        set_intset_entries_max: 8,
        set_listpack_entries_max: 8,
        hash_listpack_entries_max: 8,
        sorted_set_listpack_entries_max: 8,
        ..Thresholds::DEFAULT
    };
    let step = (0..9u8, 0..6usize, 0..120u8, common::element());
    let before = zmalloc::used_memory();
    common::check(150, &prop::collection::vec(step, 1..200), |program| {
        play::<B>(program, &few)?;
        prop_assert_eq!(zmalloc::used_memory(), before, "all is given back");
        Ok(())
    });
}

fn play<B: Backend>(program: Vec<(u8, usize, u8, Vec<u8>)>, t: &Thresholds) -> Result<(), TestCaseError> {
    let before = zmalloc::used_memory();
    let mut objects: Vec<Object<Zmalloc<B>>> = vec![
        Object::string(b"a string to begin with", t),
        List::new().into(),
        Set::new().into(),
        Hash::new().into(),
        SortedSet::new().into(),
        Object::integer(i64::MAX),
    ];
    let mut log = HyperLogLog::<Zmalloc<B>>::new();
    for (operation, which, name, element) in program {
        let name = format!("name {name}");
        match operation {
            0 => {
                let object = &mut objects[0];
                object.string_mut().unwrap().extend_from_slice(&element);
            }
            1 => objects[0] = Object::string(&element, t),
            2 => objects[0].compact(t),
            // A reference is no copy; a change to one of two is.
            3 => {
                let other = objects[which].clone();
                prop_assert!(other.is(&objects[which]));
                let list = objects[1].list_mut().unwrap();
                list.push_front(&*name, t);
                drop(other);
            }
            4 => drop(log.add(&element)),
            5 => {
                objects[1].list_mut().unwrap().pop_back(t);
                objects[2].set_mut().unwrap().remove(&*name);
                objects[3].hash_mut().unwrap().remove(&*name);
                objects[4].sorted_set_mut().unwrap().remove(&*name);
            }
            _ => {
                objects[1].list_mut().unwrap().push_back(&element[..], t);
                objects[2].set_mut().unwrap().insert(&element[..], t);
                objects[2].set_mut().unwrap().insert(&*name, t);
                objects[3].hash_mut().unwrap().insert(&*name, &element[..], t);
                objects[4].sorted_set_mut().unwrap().insert(&*name, element.len() as f64, t);
            }
        }
        let parts: usize = objects.iter().map(Object::charged_size).sum();
        prop_assert_eq!(zmalloc::used_memory() - before, parts + log.charged_size());
    }
    Ok(())
}
