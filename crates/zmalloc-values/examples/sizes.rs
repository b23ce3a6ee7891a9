//! What values are charged over jemalloc, as the README has it: `cargo run --release -p zmalloc-values --example sizes`.

use zmalloc::Zmalloc;
use zmalloc::backend::Jemalloc;
use zmalloc_values::{Hash, HyperLogLog, List, Object, Set, SortedSet, Thresholds};

type Heap = Zmalloc<Jemalloc>;

fn main() {
    let t = &Thresholds::DEFAULT;
    println!("| value | encoding | bytes |\n|---|---|---|");
    show("an integer of up to 62 bits", Object::integer(1234));
    show("a string of 8 bytes", Object::string(b"eight by", t));
    show("a string of 44 bytes", Object::string(&[b'x'; 44], t));
    show("a string of 100 bytes", Object::string(&[b'x'; 100], t));
    let mut list = List::new();
    (0..100).for_each(|number| list.push_back(number, t));
    show("a list of 100 small integers", list.into());
    let mut set = Set::new();
    (0..100).for_each(|number| assert!(set.insert(number, t)));
    show("a set of 100 small integers", set.into());
    let mut set = Set::new();
    (0..10_000).for_each(|number| assert!(set.insert(&*format!("member:{number:08}"), t)));
    show("a set of 10,000 members of 15 bytes", set.into());
    let mut hash = Hash::new();
    (0..10).for_each(|number| assert!(hash.insert(&*format!("field{number}"), "ten bytes.", t)));
    show("a hash of 10 fields of 6 bytes, values of 10", hash.into());
    let mut hash = Hash::new();
    (0..10_000).for_each(|number| assert!(hash.insert(&*format!("field:{number:08}"), "ten bytes.", t)));
    show("a hash of 10,000 fields of 14 bytes, values of 10", hash.into());
    let mut scores = SortedSet::new();
    for number in 0..10_000 {
        scores.insert(&*format!("member:{number:08}"), f64::from(number * 7919 % 10_007), t);
    }
    show("a sorted set of 10,000 members of 15 bytes", scores.into());
    let mut log = HyperLogLog::<Heap>::new();
    println!("| a HyperLogLog of nothing | sparse | {} |", log.charged_size());
    for number in 0..1000u32 {
        log.add(&number.to_le_bytes());
    }
    println!("| a HyperLogLog of 1000 elements | sparse | {} |", log.charged_size());
    log.make_dense();
    println!("| a HyperLogLog of any number | dense | {} |", log.charged_size());
}

fn show(what: &str, object: Object<Heap>) {
    println!("| {what} | {} | {} |", object.encoding().name(), object.charged_size());
}
