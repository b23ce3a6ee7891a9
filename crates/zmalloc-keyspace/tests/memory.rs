//! Used bytes are exactly the ledger's; scopes, the budget, threads, and time that passes by itself.
#![cfg(feature = "zmalloc")]

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use zmalloc::Zmalloc;
use zmalloc_keyspace::{Builder, Keyspace, Policy};
use zmalloc_values::{Hash, Object, Thresholds};

/// Nothing else here allocates from it: the tests' own memory is the system's.
type Heap = Zmalloc;

/// One test at a time, as all count in one ledger.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(number: usize) -> Vec<u8> {
    format!("key:{number}").into_bytes()
}

/// A little of everything, at random.
fn work(keyspace: &Keyspace<Heap>, seed: u64, steps: usize, mut each: impl FnMut()) {
    let thresholds = &Thresholds::DEFAULT;
    let mut state = seed;
    for step in 0..steps {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let (random, key) = ((state >> 33) as usize, key((state >> 50) as usize % 5000));
        let length = [random % 64, random % 1000, random % 30_000][random % 3];
        match random % 11 {
            0 => _ = keyspace.remove(&key),
            1 | 2 => _ = keyspace.get(&key),
            3 => _ = keyspace.set_for(&key, &vec![1; length], Duration::from_millis(1 + random as u64 % 50)),
            4 => _ = keyspace.expire(&key, Duration::from_secs(random as u64 % 100)),
            5 => {
                let field = random.to_string();
                let _ = keyspace.update(&key, |value| {
                    let hash = value.get_or_insert_with(|| Object::from(Hash::new()));
                    if let Some(hash) = hash.hash_mut() {
                        hash.insert(field.as_bytes(), &b"value"[..], thresholds);
                    }
                });
            }
            _ => _ = keyspace.set(&key, &vec![2; length]),
        }
        if step % 64 == 0 {
            each();
        }
    }
}

fn bounded() -> Builder {
    Keyspace::builder().max_memory(4 << 20).shards(2)
}

#[test]
fn the_ledger_is_the_sum_of_the_parts_at_any_time_and_nothing_is_left() {
    let _alone = alone();
    let before = zmalloc::used_memory();
    for policy in Policy::ALL {
        let keyspace = bounded().policy(policy).build_in::<Heap>().unwrap();
        work(&keyspace, 7, 20_000, || {
            let used = keyspace.stats().used_bytes;
            assert_eq!((zmalloc::used_memory() - before, used <= 4 << 20), (used, true), "{policy}");
        });
        keyspace.clear();
        assert_eq!(zmalloc::used_memory() - before, keyspace.stats().used_bytes, "{policy}");
        assert!(keyspace.stats().used_bytes < 200 << 10);
        drop(keyspace);
        assert_eq!(zmalloc::used_memory(), before, "{policy}");
    }
}

#[test]
fn a_scope_has_what_the_keyspace_has_and_each_shard_its_own() {
    let _alone = alone();
    let scope = zmalloc::Scope::new("cache");
    let keyspace = bounded().scope(scope.clone()).build_in::<Heap>().unwrap();
    work(&keyspace, 3, 20_000, || {});
    assert_eq!(scope.live_bytes(), keyspace.stats().used_bytes as i64);
    assert!(keyspace.stats().evicted > 0 && keyspace.stats().expired > 0);
    let report = scope.figures();
    assert_eq!(report.own.allocated_bytes, 0, "all of it is the shards'");
    keyspace.clear();
    assert_eq!(scope.live_bytes(), keyspace.stats().used_bytes as i64);
}

#[test]
fn before_somebody_is_refused_the_keyspace_sheds() {
    let _alone = alone();
    let keyspace = Keyspace::builder().max_memory(32 << 20).shards(2).build_in::<Heap>().unwrap();
    (0..200_000).for_each(|number| keyspace.set(&key(number), &[1; 200]).unwrap());
    let full = keyspace.stats().used_bytes;
    assert!(full > 30 << 20);
    let reclaimer = keyspace.reclaimer(10).unwrap();
    zmalloc::budget::set_limit_bytes_hard(Some(zmalloc::used_memory() + (1 << 20)));
    let heap = Heap::new();
    let block = heap.malloc(12 << 20);
    assert!(!block.is_null(), "the keyspace made room");
    let left = keyspace.stats().used_bytes;
    assert!(left < full - (10 << 20) && left > 8 << 20, "{left} of {full}");
    // It goes on with what there is.
    (0..10_000).for_each(|number| _ = keyspace.set(&key(number), &[1; 200]));
    // SAFETY: a live block, freed once.
    unsafe { heap.free(block) };
    zmalloc::budget::set_limit_bytes_hard(None);
    drop(reclaimer);
    assert_eq!(keyspace.get(&key(9999)), Some(vec![1; 200]));
}

#[test]
fn threads_share_one_bound() {
    let _alone = alone();
    let before = zmalloc::used_memory();
    let keyspace = Keyspace::builder().max_memory(8 << 20).shards(4).build_in::<Heap>().unwrap();
    thread::scope(|scope| {
        for thread in 0..8 {
            let keyspace = &keyspace;
            scope.spawn(move || {
                work(keyspace, thread, 10_000, || assert!(keyspace.stats().used_bytes <= 8 << 20));
                let mut found = 0;
                for number in 0..2000 {
                    let own = format!("own:{thread}:{number}").into_bytes();
                    keyspace.set(&own, &own).unwrap();
                    // Others may have written so much meanwhile that it had to go.
                    if let Some(value) = keyspace.get(&own) {
                        assert_eq!(value, own);
                        found += 1;
                    }
                }
                assert!(found > 1500, "{found}");
            });
        }
        scope.spawn(|| (0..50).for_each(|_| keyspace.for_each(|key, _| assert!(!key.is_empty()))));
    });
    assert_eq!(zmalloc::used_memory() - before, keyspace.stats().used_bytes);
}

#[test]
fn what_ends_is_given_back_in_the_background_among_many_that_do_not() {
    let _alone = alone();
    let keyspace = Keyspace::builder().background(true).build_in::<Heap>().unwrap();
    let hour = Duration::from_secs(3600);
    (0..50_000).for_each(|number| keyspace.set_for(&key(number), b"value", hour).unwrap());
    (50_000..51_000).for_each(|number| keyspace.set_for(&key(number), b"value", Duration::from_millis(300)).unwrap());
    assert!(keyspace.len() > 50_000);
    let start = Instant::now();
    while keyspace.len() > 50_000 {
        assert!(start.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!((keyspace.len(), keyspace.stats().expired), (50_000, 1000));
}

#[test]
fn a_panic_in_the_programs_code_leaves_what_it_left() {
    let _alone = alone();
    let keyspace = bounded().build_in::<Heap>().unwrap();
    let thresholds = &Thresholds::DEFAULT;
    let panicking = |fields: usize| {
        let updated = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            keyspace.update(b"key", |value| {
                let hash = value.get_or_insert_with(|| Object::from(Hash::new())).hash_mut().unwrap();
                for field in 0..fields {
                    hash.insert(field.to_string().as_bytes(), &b"value"[..], thresholds);
                }
                panic!("in the program's code");
            })
        }));
        assert!(updated.is_err());
    };
    panicking(3);
    panicking(700);
    let fields = keyspace.read(b"key", |value| match value {
        zmalloc_keyspace::ValueRef::Object(object) => match object.value() {
            zmalloc_values::Value::Hash(hash) => hash.len(),
            _ => 0,
        },
        zmalloc_keyspace::ValueRef::Bytes(_) => 0,
    });
    assert_eq!(fields, Some(700));
    let memory = keyspace.memory_of(b"key").unwrap();
    assert!(memory > 10_000 && keyspace.stats().beside_bytes + 100 > memory);
}
