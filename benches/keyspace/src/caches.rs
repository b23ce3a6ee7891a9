//! The caches, behind one face.

use std::sync::Arc;
use std::time::Duration;
use zmalloc_keyspace::{Keyspace, Policy};

/// What all of them can do.
pub trait Cache: Send + Sync {
    fn set(&self, key: &[u8], value: &[u8]);
    /// As `set` where all entries have one time to live, or none.
    fn set_for(&self, key: &[u8], value: &[u8], _ttl: Duration) {
        self.set(key, value);
    }
    /// Whether it is there; its first byte is read.
    fn get(&self, key: &[u8]) -> bool;
    /// Has it do what it put off.
    fn settle(&self) {}
}

struct Ours(Keyspace);

impl Cache for Ours {
    fn set(&self, key: &[u8], value: &[u8]) {
        self.0.set(key, value).unwrap();
    }

    fn set_for(&self, key: &[u8], value: &[u8], ttl: Duration) {
        self.0.set_for(key, value, ttl).unwrap();
    }

    fn get(&self, key: &[u8]) -> bool {
        let first = self.0.read(key, |value| match value {
            zmalloc_keyspace::ValueRef::Bytes(bytes) => bytes[0],
            zmalloc_keyspace::ValueRef::Object(_) => 0,
        });
        std::hint::black_box(first).is_some()
    }
}

type Bytes = Arc<[u8]>;

struct Moka(moka::sync::Cache<Bytes, Bytes>);

impl Cache for Moka {
    fn set(&self, key: &[u8], value: &[u8]) {
        self.0.insert(key.into(), value.into());
    }

    fn get(&self, key: &[u8]) -> bool {
        std::hint::black_box(self.0.get(key).map(|value| value[0])).is_some()
    }

    fn settle(&self) {
        self.0.run_pending_tasks();
    }
}

#[derive(Clone)]
struct Weigh(u64);

impl quick_cache::Weighter<Box<[u8]>, Box<[u8]>> for Weigh {
    fn weight(&self, key: &Box<[u8]>, value: &Box<[u8]>) -> u64 {
        (key.len() + value.len()) as u64 + self.0
    }
}

struct Quick(quick_cache::sync::Cache<Box<[u8]>, Box<[u8]>, Weigh>);

impl Cache for Quick {
    fn set(&self, key: &[u8], value: &[u8]) {
        self.0.insert(key.into(), value.into());
    }

    fn get(&self, key: &[u8]) -> bool {
        std::hint::black_box(self.0.get(key).map(|value| value[0])).is_some()
    }
}

/// What the others take for each entry beside key and value, which they do not count themselves: by `bytes`, so that their
/// bound is one of true bytes, too.
const MOKA_BESIDE: u64 = 290;
const QUICK_BESIDE: u64 = 70;

pub const NAMES: &[&str] = &["keyspace", "moka-tinylfu", "moka-lru", "quick_cache"];

/// Makes one, for about so many entries, with a bound of true bytes.
pub fn make(name: &str, max_memory: usize, entries: usize, ttl: Option<Duration>) -> Box<dyn Cache> {
    let moka = |policy| {
        let weigh = |key: &Bytes, value: &Bytes| (key.len() + value.len() + MOKA_BESIDE as usize) as u32;
        let builder =
            moka::sync::Cache::builder().weigher(weigh).max_capacity(max_memory as u64).eviction_policy(policy);
        match ttl {
            Some(ttl) => builder.time_to_live(ttl).build(),
            None => builder.build(),
        }
    };
    match name {
        "moka-tinylfu" => Box::new(Moka(moka(moka::policy::EvictionPolicy::tiny_lfu()))),
        "moka-lru" => Box::new(Moka(moka(moka::policy::EvictionPolicy::lru()))),
        "quick_cache" => {
            Box::new(Quick(quick_cache::sync::Cache::with_weighter(entries, max_memory as u64, Weigh(QUICK_BESIDE))))
        }
        name => {
            let policy: Policy = if name == "keyspace" { Policy::S3Fifo } else { name.parse().expect("a cache") };
            Box::new(Ours(Keyspace::builder().max_memory(max_memory).policy(policy).build().unwrap()))
        }
    }
}
