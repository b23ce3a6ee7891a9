//! Objects: references, copies on change, threads.

use zmalloc_values::{Encoding, Global, Hash, Kind, List, Object, Set, SortedSet, Thresholds};

const T: &Thresholds = &Thresholds::DEFAULT;

#[test]
fn integers_of_62_bits_have_no_block() {
    for (integer, charged) in [(0, 0), (-1, 0), ((1 << 61) - 1, 0), (-(1 << 61), 0), (1 << 61, 16), (i64::MIN, 16)] {
        let object: Object = Object::string(integer.to_string().as_bytes(), T);
        assert_eq!((object.encoding(), object.charged_size()), (Encoding::Int, charged), "{integer}");
        assert_eq!(object.string_bytes().unwrap().integer(), Some(integer));
        assert_eq!(&*object.clone().string_bytes().unwrap().bytes(), integer.to_string().as_bytes());
    }
    assert_eq!(size_of::<Option<Object>>(), 8);
}

#[test]
fn a_change_is_seen_by_nobody_else() {
    let mut objects: Vec<Object> = vec![
        Object::string(b"embedded", T),
        Object::string(&[b'r'; 100], T),
        Object::integer(i64::MAX),
        List::new().into(),
        Set::new().into(),
        Hash::new().into(),
        SortedSet::new().into(),
    ];
    for object in &mut objects {
        let before = format!("{:?}", object.value());
        let other = object.clone();
        assert_eq!((object.reference_count(), other.is(object)), (2, true));
        match object.kind() {
            Kind::String => object.string_mut().unwrap().push(b'!'),
            Kind::List => object.list_mut().unwrap().push_back("new", T),
            Kind::Set => assert!(object.set_mut().unwrap().insert("new", T)),
            Kind::Hash => assert!(object.hash_mut().unwrap().insert("new", "value", T)),
            Kind::SortedSet => {
                object.sorted_set_mut().unwrap().insert("new", 1.0, T);
            }
        }
        assert_eq!(format!("{:?}", other.value()), before);
        assert_ne!(format!("{:?}", object.value()), before);
        assert_eq!((object.reference_count(), other.reference_count()), (1, 1));
    }
}

#[test]
fn what_is_another_type_is_not_changed() {
    let mut object: Object = Object::string(b"text", T);
    assert!(object.list_mut().is_none() && object.set_mut().is_none());
    assert!(object.hash_mut().is_none() && object.sorted_set_mut().is_none());
    let mut list: Object = List::new().into();
    assert!(list.string_mut().is_none() && list.string_bytes().is_none());
}

#[test]
fn an_encoding_follows_the_value() {
    let mut object: Object = Object::string(b"12", T);
    object.string_mut().unwrap().push(b'3');
    assert_eq!(object.encoding(), Encoding::Raw);
    object.compact(T);
    assert_eq!((object.encoding(), object.charged_size()), (Encoding::Int, 0));
    object.string_mut().unwrap().push(b'x');
    object.compact(T);
    assert_eq!((object.encoding(), object.charged_size()), (Encoding::Embedded, 10));
    object.string_mut().unwrap().extend_from_slice(&[b'y'; 100]);
    object.compact(T);
    assert_eq!((object.encoding(), object.charged_size()), (Encoding::Raw, 16 + 3 + 104 + 1));
}

#[test]
fn references_are_counted_across_threads() {
    let rounds = if cfg!(miri) { 20 } else { 20_000 };
    let object: Object = Object::from(Hash::<Global>::new());
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for _ in 0..rounds {
                    let mut mine = object.clone();
                    assert_eq!(mine.hash_mut().unwrap().len(), 0);
                    mine.hash_mut().unwrap().insert("only", "mine", T);
                }
            });
        }
    });
    assert_eq!((object.reference_count(), format!("{:?}", object.value())), (1, "Hash({})".into()));
    // The last reference may be in any thread.
    let others: Vec<_> = (0..4).map(|_| object.clone()).collect();
    drop(object);
    std::thread::scope(|threads| others.into_iter().for_each(|other| drop(threads.spawn(move || drop(other)))));
}
