//! What each policy lets go, seen from outside.

use std::time::Duration;
use zmalloc_keyspace::{Keyspace, Policy, WriteError};

const HOUR: Duration = Duration::from_secs(3600);

fn keyspace(policy: Policy) -> Keyspace {
    Keyspace::builder().max_memory(2 << 20).policy(policy).shards(1).build().unwrap()
}

fn key(number: usize) -> Vec<u8> {
    format!("key:{number}").into_bytes()
}

fn set(keyspace: &Keyspace, number: usize) -> Result<(), WriteError> {
    keyspace.set(&key(number), &[number as u8; 100])
}

/// How many of these are there; without a use of them.
fn there(keyspace: &Keyspace, numbers: impl IntoIterator<Item = usize>) -> usize {
    numbers.into_iter().filter(|&number| keyspace.contains(&key(number))).count()
}

/// Writes until something had to go.
fn fill(keyspace: &Keyspace, mut set: impl FnMut(&Keyspace, usize)) -> usize {
    let mut number = 0;
    while keyspace.stats().evicted == 0 {
        set(keyspace, number);
        number += 1;
    }
    assert!(number > 10_000, "{number}");
    number
}

#[test]
fn what_was_written_is_found_whoever_goes() {
    for policy in Policy::ALL.into_iter().filter(|policy| *policy != Policy::NoEviction) {
        let keyspace = keyspace(policy);
        for number in 0..60_000 {
            let ttl = HOUR * (number as u32 * 7919 % 1000 + 1);
            keyspace.set_for(&key(number), &[number as u8; 100], ttl).unwrap();
            assert_eq!(keyspace.get(&key(number)).as_deref(), Some(&[number as u8; 100][..]), "{policy}");
        }
        let stats = keyspace.stats();
        assert!(stats.evicted > 30_000 && stats.used_bytes <= 2 << 20, "{policy}: {stats:?}");
        assert!(stats.live_bytes > (2 << 20) * 7 / 10, "{policy}: {stats:?}");
    }
}

#[test]
fn without_eviction_a_full_keyspace_says_so_and_keeps_all() {
    let keyspace = keyspace(Policy::NoEviction);
    let written = (0..).find(|&number| set(&keyspace, number).is_err()).unwrap();
    assert!(written > 10_000);
    assert_eq!(set(&keyspace, written), Err(WriteError::Full { max_memory_bytes: 2 << 20 }));
    assert_eq!(there(&keyspace, 0..written), written);
    // What is as long as before is written in place.
    keyspace.set(&key(5), &[9; 100]).unwrap();
    assert_eq!(keyspace.get(&key(5)), Some(vec![9; 100]));
    // What is taken out here and there makes room, once it is enough.
    (0..written).step_by(3).for_each(|number| assert!(keyspace.remove(&key(number))));
    let more = (written..).find(|&number| set(&keyspace, number).is_err()).unwrap() - written;
    assert!(more > written / 4, "{more} of {}", written / 3);
    assert_eq!(there(&keyspace, 0..written), written - written.div_ceil(3));
    assert!(keyspace.stats().moved > 0 && keyspace.stats().evicted == 0);
}

/// Uses the first tenth again and again while others come, each of them once.
fn hot(policy: Policy, rounds: usize) -> (usize, usize) {
    let keyspace = keyspace(policy);
    let mut number = fill(&keyspace, |keyspace, number| keyspace.set_for(&key(number), &[1; 100], HOUR).unwrap());
    let hot = number / 10;
    (0..hot).for_each(|number| keyspace.set_for(&key(number), &[1; 100], HOUR).unwrap());
    for _ in 0..rounds {
        (0..hot).for_each(|number| _ = keyspace.get(&key(number)));
        for _ in 0..hot {
            keyspace.set_for(&key(number), &[1; 100], HOUR).unwrap();
            number += 1;
        }
    }
    (there(&keyspace, 0..hot), hot)
}

#[test]
fn those_in_use_stay_and_others_go() {
    for policy in [Policy::S3Fifo, Policy::AllKeysLru, Policy::VolatileLru, Policy::AllKeysLfu, Policy::VolatileLfu] {
        let (stay, hot) = hot(policy, 40);
        assert!(stay * 100 >= hot * 95, "{policy}: {stay} of {hot}");
    }
    let (stay, hot) = hot(Policy::AllKeysRandom, 40);
    assert!(stay * 10 <= hot * 3, "at random, few: {stay} of {hot}");
}

#[test]
fn those_not_used_for_the_longest_time_go_first() {
    let keyspace = keyspace(Policy::AllKeysLru);
    let written = fill(&keyspace, |keyspace, number| set(keyspace, number).unwrap());
    // From the last to the first, then as many others as are a fifth.
    (0..written).rev().for_each(|number| _ = keyspace.get(&key(number)));
    (0..written / 5).for_each(|number| set(&keyspace, written + number).unwrap());
    let (late, early) = (there(&keyspace, 0..written / 2), there(&keyspace, written / 2..written));
    assert!(late * 100 > written / 2 * 95 && early < written / 2 * 8 / 10, "{late} and {early} of {}", written / 2);
}

#[test]
fn those_used_often_stay_though_others_came_later() {
    let keyspace = keyspace(Policy::AllKeysLfu);
    let written = fill(&keyspace, |keyspace, number| set(keyspace, number).unwrap());
    let often = written / 4;
    for _ in 0..60 {
        (0..often).for_each(|number| _ = keyspace.get(&key(number)));
    }
    // Each once: more than all that fit.
    for number in written..3 * written {
        set(&keyspace, number).unwrap();
        keyspace.get(&key(number));
    }
    let stay = there(&keyspace, 0..often);
    assert!(stay * 100 > often * 95, "{stay} of {often}");
}

#[test]
fn a_volatile_policy_lets_go_only_what_has_a_deadline() {
    for policy in [Policy::VolatileLru, Policy::VolatileLfu, Policy::VolatileRandom, Policy::VolatileTtl] {
        let keyspace = keyspace(policy);
        (0..5000).for_each(|number| set(&keyspace, number).unwrap());
        (5000..40_000).for_each(|number| keyspace.set_for(&key(number), &[1; 100], HOUR).unwrap());
        assert_eq!(there(&keyspace, 0..5000), 5000, "{policy}");
        assert!(keyspace.stats().evicted > 20_000 && there(&keyspace, 5000..40_000) > 4000, "{policy}");
        // Without one they are refused, once all others are gone.
        let written = (40_000..).find(|&number| set(&keyspace, number).is_err()).unwrap();
        assert_eq!(there(&keyspace, 0..5000) + there(&keyspace, 40_000..written), 5000 + written - 40_000, "{policy}");
        let left = there(&keyspace, 5000..40_000);
        assert!(left < 200, "{policy}: {left} left");
        assert_eq!(keyspace.persist(&key(3)), Ok(true));
    }
}

#[test]
fn those_that_end_soonest_go_first() {
    let keyspace = keyspace(Policy::VolatileTtl);
    let ttl = |number: usize| HOUR * (1 + number as u32 * 7919 % 1000);
    let written = fill(&keyspace, |keyspace, number| keyspace.set_for(&key(number), &[1; 100], ttl(number)).unwrap());
    (written..written * 5 / 4).for_each(|number| keyspace.set_for(&key(number), &[1; 100], ttl(number)).unwrap());
    let part = |hours: std::ops::Range<u32>| {
        let all: Vec<usize> =
            (0..written).filter(|&number| hours.contains(&(ttl(number).as_secs() as u32 / 3600))).collect();
        there(&keyspace, all.iter().copied()) * 100 / all.len()
    };
    let [soon, late] = [part(1..100), part(600..1001)];
    assert!(soon < 20 && late > 90, "{soon} % of those that end soon, {late} % of those that end late");
}

#[test]
fn a_smaller_bound_is_kept_before_it_is_set() {
    for policy in [Policy::S3Fifo, Policy::AllKeysLru] {
        let keyspace = Keyspace::builder().max_memory(16 << 20).policy(policy).shards(2).build().unwrap();
        (0..200_000).for_each(|number| set(&keyspace, number).unwrap());
        keyspace.set_max_memory(6 << 20).unwrap();
        let stats = keyspace.stats();
        assert!(stats.used_bytes <= 6 << 20 && stats.keys > 20_000, "{stats:?}");
        let freed = keyspace.shed(2 << 20);
        assert!(freed >= 2 << 20 && keyspace.stats().used_bytes + freed <= 6 << 20, "{freed}");
        keyspace.set_max_memory(32 << 20).unwrap();
        (0..200_000).for_each(|number| set(&keyspace, number).unwrap());
        assert!(keyspace.stats().used_bytes > 20 << 20);
        assert!(keyspace.set_max_memory(1 << 10).unwrap_err().to_string().contains("at least 1048576"));
    }
}

#[test]
fn what_cannot_be_is_said() {
    let error = |builder: zmalloc_keyspace::Builder| builder.build().unwrap_err().to_string();
    assert!(error(Keyspace::builder().max_memory(1000)).contains("give it at least 1048576"));
    assert!(error(Keyspace::builder().max_memory(1 << 20).shards(64)).contains("64 shards are too many"));
    let keyspace = keyspace(Policy::S3Fifo);
    let error = keyspace.set(&[1; 10_000], b"").unwrap_err().to_string();
    assert!(error.contains("a key of 10000 bytes is too long: have at most"), "{error}");
    // More than there is room for, with nothing gone for it that could have stayed.
    set(&keyspace, 1).unwrap();
    assert!(matches!(keyspace.set(b"huge", &vec![0; 4 << 20]), Err(WriteError::Full { .. })));
    assert!(keyspace.get(b"huge").is_none() && keyspace.contains(&key(1)));
}
