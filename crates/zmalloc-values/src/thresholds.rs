//! Up to where a value has its compact form.

/// Up to where a value has its compact form: the settings of Redis that are named so, with its defaults.
///
/// What grows past one of them changes its encoding at once.
///
/// ```
/// use zmalloc_values::{Encoding, Hash, Thresholds};
///
/// let few = Thresholds { hash_listpack_entries_max: 2, ..Thresholds::DEFAULT };
/// let mut hash: Hash = Hash::new();
/// hash.insert("a", "1", &few);
/// hash.insert("b", "2", &few);
/// assert_eq!(hash.encoding(), Encoding::Listpack);
/// hash.insert("c", "3", &few);
/// assert_eq!(hash.encoding(), Encoding::HashTable);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Bytes of a string that lies in the block of its object; 255 at most. Redis has no setting: 44.
    pub string_embedded_bytes_max: usize,
    /// Bytes of one listpack of a list: `list-max-listpack-size -2`, which is 8 KiB.
    pub list_listpack_bytes_max: usize,
    /// Members of a set of integers: `set-max-intset-entries`.
    pub set_intset_entries_max: usize,
    /// Members of a small set: `set-max-listpack-entries`.
    pub set_listpack_entries_max: usize,
    /// Bytes of each member of a small set: `set-max-listpack-value`.
    pub set_listpack_bytes_max: usize,
    /// Fields of a small hash: `hash-max-listpack-entries`.
    pub hash_listpack_entries_max: usize,
    /// Bytes of each field and value of a small hash: `hash-max-listpack-value`.
    pub hash_listpack_bytes_max: usize,
    /// Members of a small sorted set: `zset-max-listpack-entries`.
    pub sorted_set_listpack_entries_max: usize,
    /// Bytes of each member of a small sorted set: `zset-max-listpack-value`.
    pub sorted_set_listpack_bytes_max: usize,
}

impl Thresholds {
    /// Those of Redis 7.2.
    pub const DEFAULT: Thresholds = Thresholds {
        string_embedded_bytes_max: 44,
        list_listpack_bytes_max: 8 << 10,
        set_intset_entries_max: 512,
        set_listpack_entries_max: 128,
        set_listpack_bytes_max: 64,
        hash_listpack_entries_max: 512,
        hash_listpack_bytes_max: 64,
        sorted_set_listpack_entries_max: 128,
        sorted_set_listpack_bytes_max: 64,
    };
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds::DEFAULT
    }
}
