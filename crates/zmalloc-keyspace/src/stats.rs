//! What a keyspace has and did.

/// Figures of a keyspace, exact at the time when each shard was read. Sizes are in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Keys, with those that have ended and were not taken out yet.
    pub keys: usize,
    /// Of them, those with a deadline.
    pub keys_with_deadline: usize,
    /// All that it has: what its blocks are charged. Not what the keyspace itself and its shards take where they stand.
    pub used_bytes: usize,
    /// What it may have; `usize::MAX` for no bound.
    pub max_memory_bytes: usize,
    /// Of what is used, the tables.
    pub index_bytes: usize,
    /// Of what is used, the segments of the log.
    pub log_bytes: usize,
    /// Of the segments, the entries that are there.
    pub live_bytes: usize,
    /// Of what is used, long values and objects.
    pub beside_bytes: usize,
    /// Reads that found a value.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Keys that had to go.
    pub evicted: u64,
    /// Keys that ended.
    pub expired: u64,
    /// Entries that were moved, so that segments could be given back.
    pub moved: u64,
    /// Keys whose value is a string, a list, a set, a hash, a sorted set.
    pub kinds: [usize; 5],
}

/// What keys with a common beginning take, as [`Keyspace::prefixes`](crate::Keyspace::prefixes) finds it. Sizes are in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefixStats {
    /// Keys.
    pub keys: usize,
    /// Their entries.
    pub entry_bytes: usize,
    /// What their values take beside them.
    pub beside_bytes: usize,
}
