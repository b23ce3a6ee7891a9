//! What once went beyond the bound, stood still, or took long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use zmalloc_keyspace::{Builder, Keyspace, Policy};
use zmalloc_values::{Hash, Object, Thresholds};

const DAY: Duration = Duration::from_secs(86_400);

fn one_shard(max_memory: usize, policy: Policy) -> Builder {
    Keyspace::builder().max_memory(max_memory).policy(policy).shards(1)
}

fn key(number: usize) -> Vec<u8> {
    format!("key:{number:08}").into_bytes()
}

#[test]
fn a_deadline_that_is_set_again_and_again_takes_no_more() {
    let keyspace = one_shard(1 << 20, Policy::NoEviction).build().unwrap();
    for ttl in [5, 3600] {
        keyspace.set(b"key", b"value").unwrap();
        keyspace.expire(b"key", Duration::from_secs(ttl)).unwrap();
        let before = keyspace.stats().used_bytes;
        for _ in 0..100_000 {
            assert_eq!(keyspace.expire(b"key", Duration::from_secs(ttl)), Ok(true));
            keyspace.set_for(b"key", b"other", Duration::from_secs(ttl)).unwrap();
        }
        let after = keyspace.stats().used_bytes;
        assert!(after <= before + (32 << 10), "{before} bytes before, {after} after");
        // Where it ends sooner it is written anew.
        for turn in 0..100_000 {
            keyspace.set_for(b"key", b"other", Duration::from_secs(ttl + turn % 3)).unwrap();
            assert!(keyspace.stats().used_bytes <= 1 << 20);
        }
    }
}

#[test]
fn what_ends_soon_is_looked_for_within_the_bound() {
    let time = Arc::new(AtomicU64::new(0));
    let clock = time.clone();
    let builder = one_shard(4 << 20, Policy::S3Fifo);
    let keyspace = builder.clock(move || Duration::from_millis(clock.load(Ordering::Relaxed))).build().unwrap();
    (0..200_000).for_each(|number| keyspace.set_for(&key(number), b"value", Duration::from_secs(20)).unwrap());
    for _ in 0..25 {
        time.fetch_add(1000, Ordering::Relaxed);
        keyspace.maintain();
        assert!(keyspace.stats().used_bytes <= 4 << 20, "{:?}", keyspace.stats());
    }
    assert_eq!(keyspace.len(), 0);
}

#[test]
fn where_few_may_go_they_do_and_room_is_found_again() {
    for policy in [Policy::VolatileLru, Policy::VolatileTtl, Policy::VolatileLfu, Policy::VolatileRandom] {
        let keyspace = one_shard(8 << 20, policy).build().unwrap();
        let hour = Duration::from_secs(3600);
        for number in (0..160_000).step_by(2) {
            keyspace.set(&key(number), b"value").unwrap();
            keyspace.set_for(&key(number + 1), b"value", hour).unwrap();
        }
        keyspace.set_max_memory(5 << 20).unwrap();
        assert!(keyspace.stats().used_bytes <= 5 << 20);
        (0..10_000).for_each(|number| keyspace.set_for(&key(1_000_000 + number), b"value", hour).unwrap());
        // An object that grows by itself has others go for it.
        keyspace
            .update(b"large", |value| {
                let hash = value.get_or_insert_with(|| Object::from(Hash::new())).hash_mut().unwrap();
                (0..2000)
                    .for_each(|at| _ = hash.insert(at.to_string().as_bytes(), &[0; 300][..], &Thresholds::DEFAULT));
            })
            .unwrap();
        assert!(keyspace.stats().used_bytes <= 5 << 20, "{policy}: {:?}", keyspace.stats());
        (0..1000).for_each(|number| keyspace.set_for(&key(2_000_000 + number), b"value", hour).unwrap());
        assert_eq!(
            (0..160_000).step_by(2).filter(|&number| keyspace.contains(&key(number))).count(),
            80_000,
            "{policy}"
        );
        // Nobody else may go.
        let error = keyspace.set_max_memory(2 << 20).unwrap_err().to_string();
        assert!(error.contains("bytes more than that are in use"), "{error}");
    }
}

#[test]
fn what_was_taken_out_makes_room_under_a_smaller_bound() {
    let keyspace = one_shard(8 << 20, Policy::NoEviction).build().unwrap();
    (0..160_000).for_each(|number| keyspace.set(&key(number), b"value").unwrap());
    (0..160_000).filter(|number| number % 4 > 0).for_each(|number| assert!(keyspace.remove(&key(number))));
    keyspace.set_max_memory(3 << 20).unwrap();
    (0..20_000).for_each(|number| keyspace.set(&key(1_000_000 + number), b"value").unwrap());
    assert!((0..160_000).step_by(4).all(|number| keyspace.get(&key(number)).as_deref() == Some(b"value")));
    assert!(keyspace.stats().used_bytes <= 3 << 20);
}

#[test]
fn a_much_smaller_bound_leaves_room_for_keys() {
    for policy in [Policy::S3Fifo, Policy::AllKeysLru] {
        let keyspace = one_shard(64 << 20, policy).build().unwrap();
        (0..2_500_000).for_each(|number| keyspace.set(&key(number), b"value").unwrap());
        assert!(keyspace.stats().evicted > 100_000);
        keyspace.set_max_memory(4 << 20).unwrap();
        (0..10_000).for_each(|number| keyspace.set(&key(number), b"value").unwrap());
        let stats = keyspace.stats();
        assert!(stats.used_bytes <= 4 << 20 && stats.keys > 50_000, "{policy}: {stats:?}");
    }
}

#[test]
fn as_many_keys_take_as_much_however_often_they_are_others() {
    let keyspace = one_shard(usize::MAX, Policy::S3Fifo).build().unwrap();
    let (mut first, mut used) = (0, Vec::new());
    (0..50_000).for_each(|number| keyspace.set(&key(number), b"value").unwrap());
    for _ in 0..10 {
        for _ in 0..50_000 {
            assert!(keyspace.remove(&key(first)));
            keyspace.set(&key(first + 50_000), b"value").unwrap();
            first += 1;
        }
        used.push(keyspace.stats().index_bytes);
    }
    assert!(used[9] <= used[0] + used[0] / 8, "{used:?}");
    (first..first + 50_000).for_each(|number| assert!(keyspace.remove(&key(number))));
    assert!(keyspace.stats().index_bytes < 200 << 10, "{:?}", keyspace.stats());
}

#[test]
fn no_write_waits_for_more_than_a_few_segments_though_all_is_in_use() {
    let keyspace = one_shard(16 << 20, Policy::S3Fifo).build().unwrap();
    (0..520_000).for_each(|number| keyspace.set(&key(number), b"value").unwrap());
    for _ in 0..3 {
        (0..520_000).for_each(|number| _ = keyspace.get(&key(number)));
    }
    let (mut most, mut before) = (0, keyspace.stats());
    for number in 0..100_000 {
        keyspace.set(&key(1_000_000 + number), b"value").unwrap();
        let stats = keyspace.stats();
        most = most.max(stats.moved + stats.evicted - before.moved - before.evicted);
        before = stats;
    }
    assert!(before.moved > 0 && most < 20_000, "{most} entries for one write");
}

#[test]
fn a_value_that_can_never_fit_has_nobody_go() {
    let keyspace = one_shard(8 << 20, Policy::S3Fifo).build().unwrap();
    (0..100_000).for_each(|number| keyspace.set(&key(number), b"value").unwrap());
    let before = keyspace.len();
    assert!(keyspace.set(b"large", &vec![0; 9 << 20]).is_err());
    assert_eq!(keyspace.len(), before);
    keyspace.set(b"large", &vec![7; 4 << 20]).unwrap();
    assert_eq!(keyspace.get(b"large"), Some(vec![7; 4 << 20]));
}

#[test]
fn what_was_used_often_stays_so_when_its_value_becomes_longer() {
    let keyspace = one_shard(2 << 20, Policy::AllKeysLfu).build().unwrap();
    let hot = || (0..50).map(key);
    hot().for_each(|key| keyspace.set(&key, &[1; 50]).unwrap());
    (0..100).for_each(|_| hot().for_each(|key| _ = keyspace.get(&key)));
    hot().for_each(|key| keyspace.set(&key, &[1; 80]).unwrap());
    (0..100_000).for_each(|number| keyspace.set(&key(1000 + number), &[1; 50]).unwrap());
    assert_eq!(hot().filter(|key| keyspace.contains(key)).count(), 50);
}

#[test]
fn times_are_exact_long_after_the_keyspace_began() {
    let time = Arc::new(AtomicU64::new(0));
    let clock = time.clone();
    // As a clock that counts from 1970.
    let start = 20_000 * DAY;
    let now = move || start + Duration::from_millis(clock.load(Ordering::Relaxed));
    let keyspace = one_shard(usize::MAX, Policy::S3Fifo).clock(now).build().unwrap();
    keyspace.set(b"first", b"value").unwrap();
    for days in [0, 13, 26, 400, 10_000] {
        time.store(days * 86_400_000 + 7, Ordering::Relaxed);
        for ttl in [Duration::from_millis(100), DAY, 12 * DAY] {
            keyspace.set_for(b"key", b"value", ttl).unwrap();
            assert_eq!(keyspace.ttl(b"key"), Some(Some(ttl)), "after {days} days");
        }
        let long = 30 * 365 * DAY;
        keyspace.set_for(b"key", b"value", long).unwrap();
        let ttl = keyspace.ttl(b"key").unwrap().unwrap();
        assert!((long..long + Duration::from_millis(1024)).contains(&ttl), "{ttl:?}");
    }
}
