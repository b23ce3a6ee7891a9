//! The keyspace against a naive model, over random programs.

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use zmalloc_keyspace::{Cursor, Keyspace, Policy, ValueRef};
use zmalloc_values::{Hash, Kind, Object, Set, Thresholds};

#[derive(Clone, Debug)]
enum Step {
    Set { key: u16, length: usize, ttl: Option<u64> },
    Get { key: u16 },
    Remove { key: u16 },
    Expire { key: u16, ttl: u64 },
    Persist { key: u16 },
    AddToHash { key: u16, field: u8, length: usize },
    AddToSet { key: u16, member: u8 },
    Append { key: u16, length: usize },
    Pass { ms: u64 },
    Maintain,
    Check,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || prop_oneof![0..40u16, 0..2000u16];
    let length = || prop_oneof![4 => 0..100usize, 2 => 0..1500usize, 1 => 0..40_000usize];
    let ttl = || prop_oneof![1..2000u64, 1..100_000u64, Just(40 * 86_400_000)];
    prop_oneof![
        30 => (key(), length(), prop::option::weighted(0.4, ttl())).prop_map(|(key, length, ttl)| Step::Set { key, length, ttl }),
        10 => key().prop_map(|key| Step::Get { key }),
        6 => key().prop_map(|key| Step::Remove { key }),
        5 => (key(), ttl()).prop_map(|(key, ttl)| Step::Expire { key, ttl }),
        3 => key().prop_map(|key| Step::Persist { key }),
        5 => (key(), any::<u8>(), 0..90usize).prop_map(|(key, field, length)| Step::AddToHash { key, field, length }),
        3 => (key(), any::<u8>()).prop_map(|(key, member)| Step::AddToSet { key, member }),
        3 => (key(), 0..200usize).prop_map(|(key, length)| Step::Append { key, length }),
        8 => prop_oneof![0..100u64, 0..5000u64, 0..60_000u64].prop_map(|ms| Step::Pass { ms }),
        2 => Just(Step::Maintain),
        1 => Just(Step::Check),
    ]
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Bytes(Vec<u8>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    Set(Vec<Vec<u8>>),
}

struct Model {
    keys: BTreeMap<Vec<u8>, (Value, Option<u64>)>,
    now: u64,
    /// When what was taken out of the model ended: the keyspace may have it a little longer.
    ended: Vec<u64>,
    /// How late that may be, in milliseconds: where it is full, as late as it is looked for the next time.
    late: u64,
}

impl Model {
    fn live(&mut self, key: &[u8]) -> Option<&mut (Value, Option<u64>)> {
        let now = self.now;
        if self.keys.get(key).is_some_and(|(_, end)| end.is_some_and(|end| end <= now)) {
            self.keys.remove(key);
        }
        self.keys.get_mut(key)
    }

    fn take_out_ended(&mut self) {
        let (now, ended) = (self.now, &mut self.ended);
        self.keys.retain(|_, (_, end)| {
            let has_ended = end.is_some_and(|end| end <= now);
            ended.extend(end.filter(|_| has_ended));
            !has_ended
        });
        ended.retain(|end| end + self.late > now);
    }
}

fn name(key: u16) -> Vec<u8> {
    let mut name = format!("key:{key:06}").into_bytes();
    // Some are long.
    name.resize(name.len() + if key.is_multiple_of(17) { 200 } else { 0 }, b'.');
    name
}

fn bytes(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + seed) as u8).collect()
}

fn seen(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
        ValueRef::Object(object) => match object.value() {
            zmalloc_values::Value::Hash(hash) => Value::Hash(
                hash.iter().map(|(field, value)| (field.bytes().to_vec(), value.bytes().to_vec())).collect(),
            ),
            zmalloc_values::Value::Set(set) => {
                let mut members: Vec<_> = set.iter().map(|member| member.bytes().to_vec()).collect();
                members.sort();
                Value::Set(members)
            }
            other => panic!("{other:?}"),
        },
    }
}

/// Without a bound the keyspace is the model. With one it has of the model what was not evicted, and never anything else; and
/// what was just written is there.
fn play(steps: &[Step], policy: Policy, max_memory: usize, shards: usize) {
    let time = Arc::new(AtomicU64::new(5));
    let clock = time.clone();
    let keyspace = Keyspace::builder()
        .max_memory(max_memory)
        .policy(policy)
        .shards(shards)
        .clock(move || Duration::from_millis(clock.load(Ordering::Relaxed)))
        .build()
        .unwrap();
    let bounded = max_memory != usize::MAX;
    let mut model = Model { keys: BTreeMap::new(), now: 5, ended: Vec::new(), late: if bounded { 2300 } else { 200 } };
    let thresholds = &Thresholds::DEFAULT;
    for (number, step) in steps.iter().enumerate() {
        let mut written = None;
        match *step {
            Step::Set { key, length, ttl } => {
                let (key, value) = (name(key), bytes(number, length));
                let set = match ttl {
                    Some(ttl) => keyspace.set_for(&key, &value, Duration::from_millis(ttl)),
                    None => keyspace.set(&key, &value),
                };
                if set.is_ok() {
                    let end = ttl.map(|ttl| model.now + ttl);
                    model.keys.insert(key.clone(), (Value::Bytes(value), end));
                    written = Some(key);
                } else {
                    assert!(bounded && (policy == Policy::NoEviction || policy.is_volatile()), "{set:?}");
                }
            }
            Step::Get { key } => {
                let key = name(key);
                let got = keyspace.read(&key, seen);
                let expected = model.live(&key).map(|(value, _)| value.clone());
                if got.is_some() || !bounded {
                    assert_eq!(got, expected);
                }
            }
            Step::Remove { key } => {
                let key = name(key);
                let there = model.live(&key).is_some();
                model.keys.remove(&key);
                let removed = keyspace.remove(&key);
                assert!(removed == there || bounded && !removed);
                assert!(!keyspace.contains(&key));
            }
            Step::Expire { key, ttl } => {
                let key = name(key);
                let there = keyspace.contains(&key);
                if let Ok(done) = keyspace.expire(&key, Duration::from_millis(ttl)) {
                    assert!(done == there || bounded && !done);
                    let end = model.now + ttl;
                    if let Some(entry) = model.live(&key) {
                        entry.1 = Some(end);
                    }
                }
            }
            Step::Persist { key } => {
                let key = name(key);
                if keyspace.persist(&key).is_ok()
                    && let Some(entry) = model.live(&key)
                {
                    entry.1 = None;
                }
            }
            Step::AddToHash { key, field, length } => {
                let (key, field, value) = (name(key), format!("field{field}").into_bytes(), bytes(number, length));
                let evicted = !keyspace.contains(&key);
                if evicted {
                    model.keys.remove(&key);
                }
                let entry = model.live(&key);
                let fits = entry.as_ref().is_none_or(|(value, _)| matches!(value, Value::Hash(_)));
                let result = keyspace.update(&key, |object| {
                    let hash = object.get_or_insert_with(|| Object::from(Hash::new()));
                    hash.hash_mut().map(|hash| hash.insert(&*field, &*value, thresholds)).is_some()
                });
                if let Ok(done) = result {
                    assert_eq!(done, fits);
                    if done {
                        let entry = model.keys.entry(key.clone()).or_insert((Value::Hash(BTreeMap::new()), None));
                        if let Value::Hash(hash) = &mut entry.0 {
                            hash.insert(field, value);
                        }
                        written = Some(key);
                    }
                }
            }
            Step::AddToSet { key, member } => {
                let (key, member) = (name(key), format!("{member}").into_bytes());
                if !keyspace.contains(&key) {
                    model.keys.remove(&key);
                }
                let fits = model.live(&key).is_none_or(|(value, _)| matches!(value, Value::Set(_)));
                let result = keyspace.update(&key, |object| {
                    let set = object.get_or_insert_with(|| Object::from(Set::new()));
                    set.set_mut().map(|set| set.insert(&*member, thresholds)).is_some()
                });
                if let Ok(done) = result {
                    assert_eq!(done, fits);
                    if done {
                        let entry = model.keys.entry(key.clone()).or_insert((Value::Set(Vec::new()), None));
                        if let Value::Set(set) = &mut entry.0
                            && let Err(at) = set.binary_search(&member)
                        {
                            set.insert(at, member);
                        }
                        written = Some(key);
                    }
                }
            }
            Step::Append { key, length } => {
                let (key, tail) = (name(key), bytes(number, length));
                if !keyspace.contains(&key) {
                    model.keys.remove(&key);
                }
                let fits = model.live(&key).is_none_or(|(value, _)| matches!(value, Value::Bytes(_)));
                let result = keyspace.update(&key, |object| {
                    let string = object.get_or_insert_with(|| Object::string(b"", thresholds));
                    string.string_mut().map(|string| string.extend_from_slice(&tail)).is_some()
                });
                if let Ok(done) = result {
                    assert_eq!(done, fits);
                    if done {
                        let entry = model.keys.entry(key.clone()).or_insert((Value::Bytes(Vec::new()), None));
                        if let Value::Bytes(bytes) = &mut entry.0 {
                            bytes.extend_from_slice(&tail);
                        }
                        written = Some(key);
                    }
                }
            }
            Step::Pass { ms } => {
                model.now += ms;
                time.store(model.now, Ordering::Relaxed);
            }
            Step::Maintain => {
                keyspace.maintain();
                // Whatever ended some time ago is gone.
                model.take_out_ended();
                assert!(keyspace.len() <= model.keys.len() + model.ended.len());
            }
            Step::Check => check(&keyspace, &mut model, bounded),
        }
        if let Some(key) = written {
            let got = keyspace.read(&key, seen);
            assert_eq!(got.as_ref(), model.live(&key).map(|(value, _)| &*value), "just written");
        }
        assert!(keyspace.stats().used_bytes <= max_memory, "{step:?}: {:?}", keyspace.stats());
    }
    check(&keyspace, &mut model, bounded);
    keyspace.clear();
    assert!(keyspace.is_empty() && keyspace.stats().used_bytes < (128 << 10) * shards);
}

fn check(keyspace: &Keyspace, model: &mut Model, bounded: bool) {
    model.take_out_ended();
    let now = model.now;
    let mut kinds = [0; 5];
    let mut count = 0;
    keyspace.for_each(|key, value| {
        let (expected, _) = model.keys.get(key).unwrap_or_else(|| panic!("{key:?} is not there"));
        kinds[value.kind() as usize] += 1;
        assert_eq!(&seen(value), expected);
        count += 1;
    });
    if !bounded {
        assert_eq!(count, model.keys.len());
    }
    let (mut cursor, mut scanned) = (Some(Cursor::START), Vec::new());
    while let Some(at) = cursor {
        let (keys, next) = keyspace.scan(at, 7);
        scanned.extend(keys);
        cursor = next;
    }
    scanned.sort();
    scanned.dedup();
    assert_eq!(scanned.len(), count);
    for key in scanned {
        let (_, end) = &model.keys[&key];
        let ttl = keyspace.ttl(&key).unwrap();
        match (ttl, end) {
            (None, None) => {}
            // Beyond some weeks a second more.
            (Some(ttl), Some(end)) => assert!((0..1025).contains(&(ttl.as_millis() as u64 - (end - now)))),
            other => panic!("{other:?}"),
        }
        assert!(keyspace.memory_of(&key).unwrap() > key.len());
    }
    let stats = keyspace.stats();
    assert_eq!(stats.keys, stats.kinds.iter().sum::<usize>());
    assert!(stats.kinds[Kind::Hash as usize] >= kinds[Kind::Hash as usize]);
    let prefixes = keyspace.prefixes(b':');
    assert_eq!(prefixes.values().map(|stats| stats.keys).sum::<usize>(), count);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn without_a_bound_it_is_a_map(steps in prop::collection::vec(step(), 1..1500)) {
        play(&steps, Policy::S3Fifo, usize::MAX, 2);
    }

    #[test]
    fn with_a_bound_it_has_no_more_and_nothing_else(
        steps in prop::collection::vec(step(), 1..2500),
        policy in prop::sample::select(&Policy::ALL),
    ) {
        play(&steps, policy, 1 << 20, 1);
    }
}
