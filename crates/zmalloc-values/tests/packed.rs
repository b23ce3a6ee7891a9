//! Listpack and ziplist against `Vec<Vec<u8>>`: random programs of every call, over each memory.

mod common;

use proptest::prelude::*;
use zmalloc_values::packed::{Format, ListpackFormat, ZiplistFormat};
use zmalloc_values::{Global, Listpack, Memory, Packed, Position, Ziplist};

#[derive(Clone, Debug)]
enum Operation {
    PushFront(Vec<u8>),
    PushBack(Vec<u8>),
    InsertBefore(usize, Vec<u8>),
    InsertAfter(usize, Vec<u8>),
    Replace(usize, Vec<u8>),
    Remove(usize),
    RemoveRange(usize, usize),
    Find(usize, usize, usize),
    Clear,
    ShrinkToFit,
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let at = any::<usize>;
    prop_oneof![
        2 => common::element().prop_map(PushFront),
        4 => common::element().prop_map(PushBack),
        4 => (at(), common::element()).prop_map(|(at, element)| InsertBefore(at, element)),
        2 => (at(), common::element()).prop_map(|(at, element)| InsertAfter(at, element)),
        4 => (at(), common::element()).prop_map(|(at, element)| Replace(at, element)),
        4 => at().prop_map(Remove),
        1 => (at(), 0..5usize).prop_map(|(at, count)| RemoveRange(at, count)),
        2 => (at(), at(), 0..3usize).prop_map(|(from, wanted, skip)| Find(from, wanted, skip)),
        1 => Just(ShrinkToFit),
        // Seldom, so that lists get long.
        1 => (0..20u8).prop_map(|one| if one == 0 { Clear } else { ShrinkToFit }),
    ]
}

#[test]
fn every_listpack_is_that_of_the_model() {
    fn check<M: Memory>() {
        common::check(120, &prop::collection::vec(operation(), 1..60), play::<ListpackFormat, M>);
    }
    over_each_memory!(check);
}

#[test]
fn every_ziplist_is_that_of_the_model() {
    fn check<M: Memory>() {
        common::check(120, &prop::collection::vec(operation(), 1..60), play::<ZiplistFormat, M>);
    }
    over_each_memory!(check);
}

/// Entries just short enough not to cascade, and changes that make them.
#[test]
fn every_cascade_is_that_of_the_model() {
    use Operation::*;
    let near = || (any::<u8>(), 245..256usize).prop_map(|(byte, length)| vec![byte; length]);
    let operation = prop_oneof![
        8 => near().prop_map(PushBack),
        2 => near().prop_map(PushFront),
        2 => (any::<usize>(), near()).prop_map(|(at, element)| InsertBefore(at, element)),
        2 => (any::<usize>(), near()).prop_map(|(at, element)| Replace(at, element)),
        1 => (any::<usize>(), common::element()).prop_map(|(at, element)| Replace(at, element)),
        2 => any::<usize>().prop_map(Remove),
        1 => (any::<usize>(), 0..5usize).prop_map(|(at, count)| RemoveRange(at, count)),
    ];
    common::check(300, &prop::collection::vec(operation, 1..60), play::<ZiplistFormat, Global>);
}

#[test]
fn one_insertion_may_change_every_entry() {
    let count = if cfg!(miri) { 20 } else { 1000 };
    let mut list: Ziplist = Ziplist::new();
    // 1 byte for the length before, 2 for its own, 250: 253.
    (0..count).for_each(|_| list.push_back(&[b'x'; 250]));
    let before = list.as_bytes().len();
    list.push_front(&[b'y'; 300]);
    assert_eq!(list.as_bytes().len(), before + 303 + 4 * count);
    assert!(Ziplist::<Global>::from_bytes(list.as_bytes()).is_ok());
    assert_eq!(list.iter().rev().count(), count + 1);
    // Nothing cascades down.
    let first = list.first().unwrap();
    list.remove(first);
    assert_eq!(list.as_bytes().len(), before + 4 * count);
    assert!(Ziplist::<Global>::from_bytes(list.as_bytes()).is_ok());
}

fn play<F: Format, M: Memory>(program: Vec<Operation>) -> Result<(), TestCaseError> {
    let (mut list, mut model) = (Packed::<F, M>::new(), Vec::<Vec<u8>>::new());
    let pick = |list: &Packed<F, M>, at: usize, length: usize| -> Option<(usize, Position)> {
        let index = at.checked_rem(length)?;
        // From either end.
        let from_end = index as isize - length as isize;
        Some((index, list.seek(if at.is_multiple_of(2) { index as isize } else { from_end })?))
    };
    for operation in program {
        use Operation::*;
        match operation {
            PushFront(element) => {
                list.push_front(&element[..]);
                model.insert(0, element);
            }
            PushBack(element) => {
                list.push_back(&element[..]);
                model.push(element);
            }
            InsertBefore(at, element) => {
                let Some((index, position)) = pick(&list, at, model.len()) else { continue };
                list.insert_before(position, &element[..]);
                prop_assert_eq!(&*list.get(position).bytes(), &*element);
                model.insert(index, element);
            }
            InsertAfter(at, element) => {
                let Some((index, position)) = pick(&list, at, model.len()) else { continue };
                let position = list.insert_after(position, &element[..]);
                prop_assert_eq!(&*list.get(position).bytes(), &*element);
                model.insert(index + 1, element);
            }
            Replace(at, element) => {
                let Some((index, position)) = pick(&list, at, model.len()) else { continue };
                list.replace(position, &element[..]);
                prop_assert_eq!(&*list.get(position).bytes(), &*element);
                model[index] = element;
            }
            Remove(at) => {
                let Some((index, position)) = pick(&list, at, model.len()) else { continue };
                let next = list.remove(position);
                model.remove(index);
                prop_assert_eq!(next.map(|at| list.get(at).bytes().into_owned()), model.get(index).cloned());
            }
            RemoveRange(at, count) => {
                let Some((index, position)) = pick(&list, at, model.len()) else { continue };
                let next = list.remove_range(position, count);
                model.drain(index..(index + count).min(model.len()));
                prop_assert_eq!(next.map(|at| list.get(at).bytes().into_owned()), model.get(index).cloned());
            }
            Find(from, wanted, skip) => {
                let Some((index, position)) = pick(&list, from, model.len()) else { continue };
                let wanted = &model[wanted % model.len()];
                let found = list.find(Some(position), &wanted[..], skip);
                let expected = (index..model.len()).step_by(skip + 1).find(|&index| model[index] == *wanted);
                prop_assert_eq!(found, expected.and_then(|index| list.seek(index as isize)));
            }
            Clear => {
                list.clear();
                model.clear();
            }
            ShrinkToFit => list.shrink_to_fit(),
        }
        let forward: Vec<Vec<u8>> = list.iter().map(|element| element.bytes().into_owned()).collect();
        prop_assert_eq!(&forward, &model);
        let mut backward: Vec<Vec<u8>> = list.iter().rev().map(|element| element.bytes().into_owned()).collect();
        backward.reverse();
        prop_assert_eq!(&backward, &model);
        prop_assert_eq!((list.len(), list.is_empty()), (model.len(), model.is_empty()));
        prop_assert_eq!(list.last().map(|at| list.get(at).bytes().into_owned()), model.last().cloned());
        // What is written is let in again.
        let again = Packed::<F, Global>::from_bytes(list.as_bytes());
        prop_assert!(again.is_ok(), "{:?} of {:?}", again, list.as_bytes());
    }
    Ok(())
}

#[test]
fn both_ends_of_a_walk_meet() {
    let mut list: Listpack = Listpack::new();
    (0..10).for_each(|number| list.push_back(number));
    let mut iter = list.iter();
    let mut seen = Vec::new();
    while let Some(front) = iter.next() {
        seen.push(front.integer().unwrap());
        seen.extend(iter.next_back().and_then(|back| back.integer()));
    }
    assert_eq!(seen, [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]);
    assert!(iter.next_back().is_none());
}

#[test]
fn more_elements_than_the_header_can_count() {
    let count = if cfg!(miri) { return } else { 66_000 };
    fn check<F: Format>(count: i64) {
        let mut list = Packed::<F, Global>::new();
        (0..count).for_each(|number| list.push_back(number % 10));
        assert_eq!(list.len() as i64, count);
        let copy = Packed::<F, Global>::from_bytes(list.as_bytes()).unwrap();
        assert_eq!(copy.len() as i64, count);
        assert_eq!(list.seek(-1), list.last());
        let middle = list.seek(500).unwrap();
        list.remove_range(middle, 1000);
        assert_eq!(list.len() as i64, count - 1000);
    }
    check::<ListpackFormat>(count);
    check::<ZiplistFormat>(count);
}

/// Byte for byte as the formats are published.
#[test]
fn the_bytes_are_those_of_the_format() {
    let mut list: Listpack = Listpack::new();
    list.push_back("a");
    list.push_back(1024);
    list.push_back(-1);
    list.push_back(1 << 40);
    let expected = [
        &[29, 0, 0, 0, 4, 0][..],
        &[0x81, b'a', 2],
        &[0xC4, 0x00, 2],
        &[0xDF, 0xFF, 2],
        &[0xF4, 0, 0, 0, 0, 0, 1, 0, 0, 9],
    ];
    let mut expected = expected.concat();
    expected.push(0xFF);
    expected[0] = expected.len() as u8;
    assert_eq!(list.as_bytes(), expected);

    let mut list: Ziplist = Ziplist::new();
    list.push_back("2");
    list.push_back("5");
    list.push_back("Hello World");
    let expected = [
        &[0x1C, 0, 0, 0, 0x0E, 0, 0, 0, 3, 0][..],
        &[0, 0xF3],
        &[2, 0xF6],
        &[2, 0x0B, b'H', b'e', b'l', b'l', b'o', b' ', b'W', b'o', b'r', b'l', b'd', 0xFF],
    ];
    assert_eq!(list.as_bytes(), expected.concat());
}
