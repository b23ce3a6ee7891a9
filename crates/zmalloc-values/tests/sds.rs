//! `Sds` against `Vec<u8>`: random programs, over each memory.

mod common;

use proptest::prelude::*;
use zmalloc_values::{Memory, Sds};

#[derive(Clone, Debug)]
enum Operation {
    From(Vec<u8>),
    Extend(Vec<u8>),
    Resize(usize),
    Truncate(usize),
    Replace(usize, usize, Vec<u8>),
    Reserve(usize),
    ReserveExact(usize),
    ShrinkToFit,
    Overwrite(u8),
    Clone,
}

fn operation() -> impl Strategy<Value = Operation> {
    let length = prop_oneof![0..40usize, 250..260usize, 65_530..65_540usize, 0..70_000usize];
    prop_oneof![
        1 => common::element().prop_map(Operation::From),
        3 => common::element().prop_map(Operation::Extend),
        1 => length.clone().prop_map(Operation::Resize),
        1 => length.clone().prop_map(Operation::Truncate),
        3 => (any::<usize>(), any::<usize>(), common::element()).prop_map(|(a, b, bytes)| Operation::Replace(a, b, bytes)),
        1 => length.clone().prop_map(Operation::Reserve),
        1 => length.prop_map(Operation::ReserveExact),
        2 => Just(Operation::ShrinkToFit),
        1 => any::<u8>().prop_map(Operation::Overwrite),
        1 => Just(Operation::Clone),
    ]
}

#[test]
fn every_string_is_that_of_the_model() {
    fn check<M: Memory>() {
        common::check(150, &prop::collection::vec(operation(), 1..40), play::<M>);
    }
    over_each_memory!(check);
}

fn play<M: Memory>(program: Vec<Operation>) -> Result<(), TestCaseError> {
    let (mut string, mut model) = (Sds::<M>::new(), Vec::new());
    for operation in program {
        match operation {
            Operation::From(bytes) => (string, model) = (Sds::from(&bytes[..]), bytes),
            Operation::Extend(bytes) => {
                string.extend_from_slice(&bytes);
                model.extend_from_slice(&bytes);
            }
            Operation::Resize(length) => {
                string.resize(length);
                model.resize(length, 0);
            }
            Operation::Truncate(length) => {
                string.truncate(length);
                model.truncate(length);
            }
            Operation::Replace(one, two, bytes) => {
                let (one, two) = (one % (model.len() + 1), two % (model.len() + 1));
                let range = one.min(two)..one.max(two);
                string.replace_range(range.clone(), &bytes);
                model.splice(range, bytes);
            }
            Operation::Reserve(additional) => {
                string.reserve(additional);
                prop_assert!(string.capacity() - string.len() >= additional);
            }
            Operation::ReserveExact(additional) => {
                string.reserve_exact(additional);
                prop_assert!(string.capacity() - string.len() >= additional);
            }
            Operation::ShrinkToFit => {
                string.shrink_to_fit();
                // An allocator may give more than was asked for, but no other size class.
                prop_assert!(string.capacity() <= model.len() + model.len() / 4 + 4096);
            }
            Operation::Overwrite(byte) => {
                string.fill(byte);
                model.fill(byte);
            }
            Operation::Clone => {
                let copy = string.clone();
                prop_assert!(copy == string);
                string = copy;
            }
        }
        prop_assert_eq!(&*string, &*model);
        prop_assert!(string.capacity() >= string.len());
        prop_assert_eq!(string.charged_size() == 0, string.capacity() == 0);
        let whole = string.capacity() + string.header_bytes() + usize::from(string.capacity() > 0);
        prop_assert!(string.capacity() == 0 || string.charged_size() >= whole);
        // SAFETY: a string is followed by a 0.
        prop_assert_eq!(unsafe { string.as_ptr().add(string.len()).read() }, 0);
    }
    Ok(())
}

#[test]
fn the_slack_of_a_block_is_used() {
    #[cfg(not(miri))]
    {
        // 3 + 100 + 1 bytes come in a block of 112.
        let string = Sds::<zmalloc::Zmalloc<zmalloc::backend::Jemalloc>>::from(&[b'x'; 100]);
        assert_eq!((string.capacity(), string.charged_size()), (108, 112));
        // A capacity is never more than its field can say: 3 + 255 + 1 bytes come in a block of 320.
        let string = Sds::<zmalloc::Zmalloc<zmalloc::backend::Jemalloc>>::from(&[b'x'; 255]);
        assert_eq!((string.capacity(), string.charged_size()), (255, 320));
    }
}

#[test]
fn it_goes_to_other_threads() {
    let string = Sds::<zmalloc_values::Global>::from("from one thread to another, and back");
    let back = std::thread::spawn(move || string).join().unwrap();
    assert_eq!(back, b"from one thread to another, and back");
}
