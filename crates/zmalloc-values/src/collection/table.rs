//! A hash table of entries that own their blocks, and what all of it is charged.

use crate::memory::{Counted, Memory};
use crate::sds::Sds;
use core::hash::BuildHasher;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table;

/// What a table holds.
pub trait Keyed {
    fn key(&self) -> &[u8];
    fn charged_size(&self) -> usize;
}

impl<M: Memory> Keyed for Sds<M> {
    fn key(&self) -> &[u8] {
        self
    }

    fn charged_size(&self) -> usize {
        self.charged_size()
    }
}

#[derive(Clone)]
pub struct Table<T, M: Memory> {
    entries: HashTable<T, Counted<M>>,
    hasher: RandomState,
    /// What the blocks of the entries are charged: kept, so that nobody has to walk them.
    entries_bytes: usize,
}

/// A table shrinks when it is emptier than one in this many.
const SPARSE: usize = 8;
/// A table with no more places stays.
const PLACES_MIN: usize = 64;

impl<T: Keyed, M: Memory> Table<T, M> {
    pub fn with_capacity(entries: usize) -> Self {
        let entries = HashTable::with_capacity_in(entries, Counted::new());
        Table { entries, hasher: RandomState::default(), entries_bytes: 0 }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn get(&self, key: &[u8]) -> Option<&T> {
        self.entries.find(self.hasher.hash_one(key), |entry| entry.key() == key)
    }

    /// Puts an entry in the place of one with that key, and answers that one.
    pub fn insert(&mut self, entry: T) -> Option<T> {
        self.entries_bytes += entry.charged_size();
        let hasher = &self.hasher;
        let hash = hasher.hash_one(entry.key());
        match self.entries.entry(hash, |other| other.key() == entry.key(), |other| hasher.hash_one(other.key())) {
            hash_table::Entry::Occupied(mut place) => {
                let old = core::mem::replace(place.get_mut(), entry);
                self.entries_bytes -= old.charged_size();
                Some(old)
            }
            hash_table::Entry::Vacant(place) => {
                place.insert(entry);
                None
            }
        }
    }

    pub fn remove(&mut self, key: &[u8]) -> Option<T> {
        let hash = self.hasher.hash_one(key);
        let (removed, _) = self.entries.find_entry(hash, |entry| entry.key() == key).ok()?.remove();
        self.entries_bytes -= removed.charged_size();
        let places = self.entries.capacity();
        if places > PLACES_MIN && self.entries.len() < places / SPARSE {
            let hasher = &self.hasher;
            self.entries.shrink_to(self.entries.len() * 2, |entry| hasher.hash_one(entry.key()));
        }
        Some(removed)
    }

    pub fn iter(&self) -> hash_table::Iter<'_, T> {
        self.entries.iter()
    }

    /// What the table's blocks and those of its entries are charged. O(1).
    pub fn charged_size(&self) -> usize {
        self.entries.allocator().charged_size() + self.entries_bytes
    }
}
