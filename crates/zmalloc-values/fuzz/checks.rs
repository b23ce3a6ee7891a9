//! What has to hold of any bytes at all, for each decoder: they are refused with a reason, or everything may be done with what
//! they make. Answers whether they were let in. Run by the fuzzers, and by `tests/hostile.rs`.

use zmalloc_values::dump::Payload;
use zmalloc_values::packed::{Format, ListpackFormat, ZiplistFormat};
use zmalloc_values::{FormatError, Global, HyperLogLog, Intset, Packed};

pub fn listpack(bytes: &[u8]) -> bool {
    packed::<ListpackFormat>(bytes)
}

pub fn ziplist(bytes: &[u8]) -> bool {
    packed::<ZiplistFormat>(bytes)
}

fn packed<F: Format>(bytes: &[u8]) -> bool {
    let Some(mut list) = decoded(Packed::<F, Global>::from_bytes(bytes), bytes) else { return false };
    assert_eq!(list.as_bytes(), bytes);
    let mut elements: Vec<Vec<u8>> = list.iter().map(|element| element.bytes().into_owned()).collect();
    assert_eq!(list.len(), elements.len());
    assert!(list.iter().rev().map(|element| element.bytes().into_owned()).eq(elements.iter().rev().cloned()));
    let mut at = list.last();
    for element in elements.iter().rev() {
        assert_eq!(&*list.get(at.unwrap()).bytes(), &**element);
        at = list.previous(at.unwrap());
    }
    // Changes at both ends and in the middle, one of which may cascade.
    let middle = elements.len() / 2;
    if let Some(at) = list.seek(middle as isize) {
        assert!(list.find(list.first(), &elements[middle][..], 0).is_some());
        list.replace(at, &[b'x'; 260]);
        elements[middle] = vec![b'x'; 260];
        list.insert_before(at, 1234);
        elements.insert(middle, b"1234".to_vec());
    }
    list.push_front("first");
    list.push_back(&[b'y'; 70]);
    if let Some(second) = list.seek(1) {
        list.remove(second);
    }
    elements.insert(0, b"first".to_vec());
    elements.push(vec![b'y'; 70]);
    elements.remove(1);
    assert!(list.iter().map(|element| element.bytes().into_owned()).eq(elements.iter().cloned()));
    Packed::<F, Global>::from_bytes(list.as_bytes()).expect("what is written is let in");
    true
}

pub fn intset(bytes: &[u8]) -> bool {
    let Some(mut set) = decoded(Intset::<Global>::from_bytes(bytes), bytes) else { return false };
    assert!(set.iter().is_sorted_by(|one, two| one < two));
    assert_eq!(set.iter().rev().count(), set.len());
    let first = set.get(0);
    assert!(first.is_none_or(|first| set.contains(first) && set.remove(first)));
    assert_ne!(set.contains(i64::MIN), set.insert(i64::MIN));
    Intset::<Global>::from_bytes(set.as_bytes()).expect("what is written is let in");
    true
}

pub fn hyperloglog(bytes: &[u8]) -> bool {
    let Some(mut log) = decoded(HyperLogLog::<Global>::from_bytes(bytes), bytes) else { return false };
    let before = log.estimate();
    log.add(b"one element");
    assert!(!log.add(b"one element"), "it was just added");
    let mut other: HyperLogLog = HyperLogLog::new();
    other.merge(&log);
    assert_eq!(other.estimate(), log.estimate());
    HyperLogLog::<Global>::from_bytes(log.as_bytes()).expect("what is written is let in");
    let sparse = log.estimate();
    log.make_dense();
    assert_eq!(log.estimate(), sparse);
    assert!(log.count() >= before);
    HyperLogLog::<Global>::from_bytes(log.as_bytes()).expect("what is written is let in");
    true
}

pub fn dump(bytes: &[u8]) -> bool {
    let Some(payload) = decoded(Payload::read(bytes), bytes) else { return false };
    assert_eq!(Payload::read(&payload.write()), Ok(payload));
    true
}

/// An error points into the bytes, or to their end.
fn decoded<T>(result: Result<T, FormatError>, bytes: &[u8]) -> Option<T> {
    result.inspect_err(|error| assert!(error.at <= bytes.len() && !error.what.is_empty(), "{error}")).ok()
}
