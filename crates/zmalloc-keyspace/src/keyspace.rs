//! The keyspace: [`Keyspace`].

use crate::builder::{BuildError, Builder, MAX_MEMORY_MIN};
use crate::shard::{Missing, NoRoom, Shard, ValueRef};
use crate::stats::{PrefixStats, Stats};
use foldhash::quality::RandomState;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::{Duration, Instant};
use zmalloc_values::{Global, Memory, Object};

/// How often the thread in the background looks.
const BACKGROUND: Duration = Duration::from_millis(50);

/// A map from keys to values that never has more memory than it may. Cloned, it is another handle of the same.
///
/// ```
/// use std::time::Duration;
/// use zmalloc_keyspace::{Keyspace, Policy};
///
/// let keyspace = Keyspace::builder().max_memory(64 << 20).policy(Policy::S3Fifo).build()?;
/// keyspace.set(b"greeting", b"hello")?;
/// keyspace.set_for(b"session", b"4711", Duration::from_secs(60))?;
/// assert_eq!(keyspace.get(b"greeting").as_deref(), Some(&b"hello"[..]));
/// assert!(keyspace.ttl(b"session").unwrap().unwrap() <= Duration::from_secs(60));
/// assert!(keyspace.stats().used_bytes <= 64 << 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Keyspace<M: Memory = Global>(Arc<Inner<M>>);

struct Inner<M: Memory> {
    shards: Box<[Part<M>]>,
    hasher: RandomState,
    clock: Clock,
    max_memory: AtomicUsize,
}

/// A shard, and who counts it. In cache lines of its own.
#[repr(align(128))]
struct Part<M: Memory> {
    shard: Mutex<Shard<M>>,
    #[cfg(feature = "zmalloc")]
    scope: Option<zmalloc::Scope>,
}

/// Where the time comes from.
pub(crate) enum Clock {
    System(Instant),
    Own(Box<dyn Fn() -> Duration + Send + Sync>),
}

impl Clock {
    fn now_ms(&self) -> u64 {
        let since = match self {
            Clock::System(start) => start.elapsed(),
            Clock::Own(clock) => clock(),
        };
        since.as_millis() as u64
    }
}

impl<M: Memory> Part<M> {
    /// Whoever panicked with the lock held did so in the program's code, when all was in order.
    fn lock(&self) -> MutexGuard<'_, Shard<M>> {
        self.shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Shard<M>>> {
        match self.shard.try_lock() {
            Ok(shard) => Some(shard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Runs a section that changes the shard, counted in its scope.
    fn change<R>(&self, section: impl FnOnce(&mut Shard<M>) -> R) -> R {
        self.change_locked(self.lock(), section)
    }

    fn change_locked<R>(&self, mut shard: MutexGuard<'_, Shard<M>>, section: impl FnOnce(&mut Shard<M>) -> R) -> R {
        #[cfg(feature = "zmalloc")]
        let _entered = self.scope.as_ref().map(zmalloc::Scope::enter);
        section(&mut shard)
    }
}

#[cfg(feature = "zmalloc")]
pub(crate) type Made<M> = (Shard<M>, Option<zmalloc::Scope>);
#[cfg(not(feature = "zmalloc"))]
pub(crate) type Made<M> = (Shard<M>,);

impl Keyspace {
    /// Begins to make one.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl<M: Memory> Keyspace<M> {
    pub(crate) fn from_parts(
        shards: Vec<Made<M>>,
        hasher: RandomState,
        clock: Clock,
        max_memory: usize,
        background: bool,
    ) -> Result<Self, BuildError> {
        let part = |made: Made<M>| Part {
            shard: Mutex::new(made.0),
            #[cfg(feature = "zmalloc")]
            scope: made.1,
        };
        let shards = shards.into_iter().map(part).collect();
        let keyspace = Keyspace(Arc::new(Inner { shards, hasher, clock, max_memory: AtomicUsize::new(max_memory) }));
        if background {
            let weak = Arc::downgrade(&keyspace.0);
            let thread = std::thread::Builder::new().name("keyspace".to_owned());
            thread.spawn(move || attend(&weak)).map_err(BuildError::Background)?;
        }
        Ok(keyspace)
    }

    fn part(&self, key: &[u8]) -> (u64, &Part<M>) {
        let hash = self.0.hasher.hash_one(key);
        // A power of two of them, told apart by the highest bits.
        let shards = self.0.shards.len();
        (hash, &self.0.shards[(hash >> 48) as usize & (shards - 1)])
    }

    fn now_ms(&self) -> u64 {
        self.0.clock.now_ms()
    }

    fn deadline_ms(&self, now_ms: u64, after: Duration) -> u64 {
        now_ms.saturating_add(u64::try_from(after.as_millis()).unwrap_or(u64::MAX))
    }

    fn full(&self, _: NoRoom) -> WriteError {
        WriteError::Full { max_memory_bytes: self.max_memory() }
    }

    // ---- Reading ------------------------------------------------------------------------------------------------

    /// The value of a key, if that is a string. A use of it, as the policy understands it.
    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.read(key, |value| value.to_vec()).flatten()
    }

    /// Hands the value of a key to `read`, where it lies: with the lock of its shard held, so that `read` uses no keyspace and
    /// takes little time. A use of it.
    pub fn read<R>(&self, key: &[u8], read: impl FnOnce(ValueRef<'_, M>) -> R) -> Option<R> {
        let (hash, part) = self.part(key);
        let result = part.lock().get(hash, key, || self.now_ms(), read);
        if let Err(Missing::Ended(_)) = result {
            part.change(|shard| shard.take_out_ended(hash, key, self.now_ms()));
        }
        result.ok()
    }

    /// Whether there is such a key. No use of it.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.ttl(key).is_some()
    }

    /// How long a key is still there: `Some(None)` is for ever. No use of it.
    pub fn ttl(&self, key: &[u8]) -> Option<Option<Duration>> {
        let ((hash, part), now_ms) = (self.part(key), self.now_ms());
        let deadline_ms = part.change(|shard| shard.deadline_of(hash, key, now_ms))?;
        Some(deadline_ms.map(|deadline_ms| Duration::from_millis(deadline_ms - now_ms)))
    }

    /// The bytes that a key takes: its entry, to the byte, and what its value is charged beside that. The table takes about
    /// ten bytes more for each key. No use of it.
    pub fn memory_of(&self, key: &[u8]) -> Option<usize> {
        let (hash, part) = self.part(key);
        let (entry, beside) = part.change(|shard| shard.memory_of(hash, key, self.now_ms()))?;
        Some(entry + beside)
    }

    /// Keys that there are, with those that have ended and were not taken out yet.
    pub fn len(&self) -> usize {
        self.0.shards.iter().map(|part| part.lock().len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some keys, from a cursor on, and the next cursor, or `None` at the end: about `count` of them, or none where the table
    /// has none there.
    ///
    /// From [`Cursor::START`] on, every key is told that is there from the first call to the last; one that comes or goes
    /// meanwhile may be, and if keys come or go some are told twice.
    pub fn scan(&self, cursor: Cursor, count: usize) -> (Vec<Vec<u8>>, Option<Cursor>) {
        let mut keys = Vec::new();
        let next = self.walk(cursor, count, |key, _, _| keys.push(key.to_vec()));
        (keys, next)
    }

    /// Hands each key and its value to `each`, with the lock of its shard held for a few of them at a time: what `scan` says of
    /// keys that come and go is so here too.
    pub fn for_each(&self, mut each: impl FnMut(&[u8], ValueRef<'_, M>)) {
        let mut cursor = Some(Cursor::START);
        while let Some(at) = cursor {
            cursor = self.walk(at, 64, |key, value, _| each(key, value));
        }
    }

    fn walk(
        &self,
        cursor: Cursor,
        count: usize,
        mut each: impl FnMut(&[u8], ValueRef<'_, M>, usize),
    ) -> Option<Cursor> {
        let Cursor { mut shard, mut position } = cursor;
        let now_ms = self.now_ms();
        let mut told = 0;
        while let Some(part) = self.0.shards.get(shard as usize) {
            let part = part.lock();
            loop {
                position = part.walk(position, now_ms, |key, value, entry| {
                    told += 1;
                    each(key, value, entry);
                });
                if position == 0 || told >= count {
                    break;
                }
            }
            shard += u32::from(position == 0);
            if told >= count {
                break;
            }
        }
        ((shard as usize) < self.0.shards.len()).then_some(Cursor { shard, position })
    }

    /// What keys take by their beginnings, up to the first `delimiter` and with it; those without one are together under the
    /// empty beginning. Looks at every key, a few at a time.
    pub fn prefixes(&self, delimiter: u8) -> BTreeMap<Vec<u8>, PrefixStats> {
        let mut prefixes = BTreeMap::<Vec<u8>, PrefixStats>::new();
        let mut cursor = Some(Cursor::START);
        while let Some(at) = cursor {
            cursor = self.walk(at, 64, |key, value, entry| {
                let end = key.iter().position(|&byte| byte == delimiter).map_or(0, |at| at + 1);
                if !prefixes.contains_key(&key[..end]) {
                    prefixes.insert(key[..end].to_vec(), PrefixStats::default());
                }
                if let Some(stats) = prefixes.get_mut(&key[..end]) {
                    stats.keys += 1;
                    stats.entry_bytes += entry;
                    stats.beside_bytes += match value {
                        ValueRef::Bytes(_) => 0,
                        ValueRef::Object(object) => object.charged_size(),
                    };
                }
            });
        }
        prefixes
    }

    /// Figures, of one shard after the other.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats { max_memory_bytes: self.max_memory(), ..Stats::default() };
        for part in &self.0.shards {
            let shard = part.lock();
            let (index, log, live) = shard.parts();
            stats.keys += shard.len();
            stats.keys_with_deadline += shard.volatile();
            stats.used_bytes += shard.used();
            stats.index_bytes += index;
            stats.log_bytes += log;
            stats.live_bytes += live;
            stats.beside_bytes += shard.beside();
            let counters = shard.counters();
            stats.hits += counters.hits;
            stats.misses += counters.misses;
            stats.evicted += counters.evicted;
            stats.expired += counters.expired;
            stats.moved += counters.moved;
            stats.kinds.iter_mut().zip(shard.kinds()).for_each(|(sum, kind)| *sum += kind);
        }
        stats
    }

    // ---- Writing ------------------------------------------------------------------------------------------------

    /// Sets the value of a key, without a deadline. Whatever it was before, it is found from then on.
    ///
    /// # Errors
    /// If there is no room and nothing may go, or the key is too long: then nothing has changed for this key.
    pub fn set(&self, key: &[u8], value: &[u8]) -> Result<(), WriteError> {
        self.set_at(key, value, None)
    }

    /// Sets the value of a key that ends after a time.
    ///
    /// # Errors
    /// As [`set`](Keyspace::set).
    pub fn set_for(&self, key: &[u8], value: &[u8], ttl: Duration) -> Result<(), WriteError> {
        self.set_at(key, value, Some(ttl))
    }

    fn set_at(&self, key: &[u8], value: &[u8], ttl: Option<Duration>) -> Result<(), WriteError> {
        let ((hash, part), now_ms) = (self.part(key), self.now_ms());
        let deadline_ms = ttl.map(|ttl| self.deadline_ms(now_ms, ttl));
        part.change(|shard| {
            check_key(shard, key)?;
            shard.set(hash, key, value, deadline_ms, now_ms).map_err(|no_room| self.full(no_room))
        })
    }

    /// Has a key end after a time. False if there is no such key.
    ///
    /// # Errors
    /// If there is no room for the four bytes and nothing may go.
    pub fn expire(&self, key: &[u8], ttl: Duration) -> Result<bool, WriteError> {
        let ((hash, part), now_ms) = (self.part(key), self.now_ms());
        let deadline_ms = self.deadline_ms(now_ms, ttl);
        part.change(|shard| shard.set_deadline(hash, key, Some(deadline_ms), now_ms))
            .map_err(|no_room| self.full(no_room))
    }

    /// Has a key stay. False if there is no such key.
    ///
    /// # Errors
    /// As [`expire`](Keyspace::expire): it is written anew.
    pub fn persist(&self, key: &[u8]) -> Result<bool, WriteError> {
        let ((hash, part), now_ms) = (self.part(key), self.now_ms());
        part.change(|shard| shard.set_deadline(hash, key, None, now_ms)).map_err(|no_room| self.full(no_room))
    }

    /// Takes a key out. False if there is no such key.
    pub fn remove(&self, key: &[u8]) -> bool {
        let (hash, part) = self.part(key);
        part.change(|shard| shard.remove(hash, key, || self.now_ms()))
    }

    /// Hands a key's value to `change`, `None` if there is no such key, and keeps what becomes of it, with the deadline that it
    /// has; `None` takes the key out. With the lock of its shard held: `change` uses no keyspace.
    ///
    /// ```
    /// use zmalloc_keyspace::Keyspace;
    /// use zmalloc_values::{Hash, Object, Thresholds};
    ///
    /// let keyspace = Keyspace::builder().build()?;
    /// keyspace.update(b"user:1", |value| {
    ///     let hash = value.get_or_insert_with(|| Object::from(Hash::new()));
    ///     hash.hash_mut().expect("a hash").insert(b"name", b"Ada", &Thresholds::DEFAULT);
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`set`](Keyspace::set); then the key is as it was, unless its value is an object that was changed: that is kept.
    ///
    /// What an object grows by is known afterwards: so much more may be used while this runs, until others have gone for it.
    pub fn update<R>(&self, key: &[u8], change: impl FnOnce(&mut Option<Object<M>>) -> R) -> Result<R, WriteError> {
        let ((hash, part), now_ms) = (self.part(key), self.now_ms());
        part.change(|shard| {
            check_key(shard, key)?;
            shard.update(hash, key, now_ms, change).map_err(|no_room| self.full(no_room))
        })
    }

    /// Takes all keys out, and gives all memory back but what every shard begins with.
    pub fn clear(&self) {
        for part in &self.0.shards {
            part.change(Shard::clear);
        }
    }

    // ---- Memory -------------------------------------------------------------------------------------------------

    /// What it may have, in bytes; `usize::MAX` for no bound.
    pub fn max_memory(&self) -> usize {
        self.0.max_memory.load(Ordering::Relaxed)
    }

    /// Sets what it may have; what is more than that goes before this returns, a shard after the other.
    ///
    /// # Errors
    /// If that is too little for so many shards, or more would have to go than may: then that much is used still, and writes are
    /// refused.
    pub fn set_max_memory(&self, bytes: usize) -> Result<(), BuildError> {
        let shards = self.0.shards.len();
        if bytes < MAX_MEMORY_MIN {
            return Err(BuildError::MaxMemory { bytes });
        }
        let limit = if bytes == usize::MAX { usize::MAX } else { bytes / shards };
        if self.0.shards.iter().any(|part| limit / part.lock().segment_bytes() < 16) {
            return Err(BuildError::Shards { shards, most: bytes / (16 * self.0.shards[0].lock().segment_bytes()) });
        }
        self.0.max_memory.store(bytes, Ordering::Relaxed);
        let mut over = 0;
        for part in &self.0.shards {
            over += part.change(|shard| {
                shard.set_limit(limit, self.now_ms());
                shard.used().saturating_sub(limit)
            });
        }
        if over > 0 { Err(BuildError::InUse { bytes: over }) } else { Ok(()) }
    }

    /// Has keys go by the policy until about so many bytes less are used; answers how many less. Shards whose lock is held are
    /// left out, so that this can be called by a reclaimer, within an allocation.
    pub fn shed(&self, bytes: usize) -> usize {
        let now_ms = self.now_ms();
        let each = bytes.div_ceil(self.0.shards.len());
        let mut freed = 0;
        for part in &self.0.shards {
            if freed >= bytes {
                break;
            }
            let Some(shard) = part.try_lock() else { continue };
            freed += part.change_locked(shard, |shard| {
                let before = shard.used();
                shard.shrink_to(before.saturating_sub(each), now_ms);
                before.saturating_sub(shard.used())
            });
        }
        freed
    }

    /// Takes out all that has ended, a few keys at a time.
    pub fn maintain(&self) {
        for part in &self.0.shards {
            while part.change(|shard| shard.expire(self.now_ms())) {}
        }
    }

    /// Has the budget of the process ask this keyspace to [`shed`](Keyspace::shed) before it refuses somebody memory, in
    /// the order of `cost`; until what is answered is dropped.
    ///
    /// # Errors
    /// If there are too many reclaimers.
    #[cfg(feature = "zmalloc")]
    pub fn reclaimer(&self, cost: u32) -> Result<zmalloc::budget::Reclaimer, zmalloc::budget::TooManyReclaimers> {
        let weak = Arc::downgrade(&self.0);
        zmalloc::budget::reclaimer(cost, move |missing| weak.upgrade().map_or(0, |inner| Keyspace(inner).shed(missing)))
    }
}

fn check_key<M: Memory>(shard: &Shard<M>, key: &[u8]) -> Result<(), WriteError> {
    if key.len() <= shard.key_max() {
        return Ok(());
    }
    Err(WriteError::KeyTooLong { bytes: key.len(), most: shard.key_max() })
}

/// Until the keyspace is gone.
fn attend<M: Memory>(keyspace: &Weak<Inner<M>>) {
    while let Some(inner) = keyspace.upgrade() {
        Keyspace(inner).maintain();
        std::thread::sleep(BACKGROUND);
    }
}

impl<M: Memory> Clone for Keyspace<M> {
    fn clone(&self) -> Self {
        Keyspace(self.0.clone())
    }
}

impl<M: Memory> fmt::Debug for Keyspace<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Keyspace");
        text.field("keys", &self.len()).field("max_memory", &self.max_memory()).finish_non_exhaustive()
    }
}

/// Where [`Keyspace::scan`] goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    shard: u32,
    position: u32,
}

impl Cursor {
    /// The beginning.
    pub const START: Cursor = Cursor { shard: 0, position: 0 };

    /// In one number, to be handed on. That of the beginning is 0.
    pub const fn to_bits(self) -> u64 {
        (self.shard as u64) << 32 | self.position as u64
    }

    /// From such a number. Of another keyspace's, or none, it is somewhere.
    pub const fn from_bits(bits: u64) -> Cursor {
        Cursor { shard: (bits >> 32) as u32, position: bits as u32 }
    }
}

/// A value was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteError {
    /// There is no room, and nothing may go.
    Full {
        /// What the keyspace may have.
        max_memory_bytes: usize,
    },
    /// The key is too long.
    KeyTooLong {
        /// So long.
        bytes: usize,
        /// As long as one may be.
        most: usize,
    },
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::Full { max_memory_bytes: usize::MAX } => f.write_str("there is no memory for it"),
            WriteError::Full { max_memory_bytes } => {
                write!(f, "no room in a keyspace of {max_memory_bytes} bytes, and the policy lets nothing go")
            }
            WriteError::KeyTooLong { bytes, most } => {
                write!(f, "a key of {bytes} bytes is too long: have at most {most}, or give the keyspace more memory")
            }
        }
    }
}

impl std::error::Error for WriteError {}
