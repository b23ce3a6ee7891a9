//! Who was here before: fingerprints of keys that were evicted before they were used twice.

use allocator_api2::vec::Vec as VecIn;
use zmalloc_values::{Counted, Memory};

/// Sets of four fingerprints of 16 bits, each in the order in which they came.
pub(crate) struct Ghost<M: Memory> {
    sets: VecIn<u64, Counted<M>>,
}

impl<M: Memory> Ghost<M> {
    pub(crate) fn new() -> Self {
        Ghost { sets: VecIn::new_in(Counted::new()) }
    }

    pub(crate) fn charged(&self) -> usize {
        self.sets.allocator().charged_size()
    }

    /// The bytes that [`fit`](Ghost::fit) would have it take for so many keys, if not as many as now.
    pub(crate) fn growth_for(&self, keys: usize) -> Option<usize> {
        let sets = sets_for(keys);
        (sets > self.sets.len() || sets * 4 < self.sets.len()).then_some(sets * size_of::<u64>())
    }

    /// Remembers as many as there are keys, from now on; without memory nobody.
    pub(crate) fn fit(&mut self, keys: usize) {
        let sets = sets_for(keys);
        self.sets = VecIn::new_in(Counted::new());
        if self.sets.try_reserve_exact(sets).is_ok() {
            self.sets.resize(sets, 0);
        }
    }

    fn set_of(&mut self, hash: u64) -> Option<&mut u64> {
        let last = self.sets.len().checked_sub(1)?;
        // A power of two of them, told apart by bits that neither the bucket's number nor the shard's has all of.
        self.sets.get_mut((hash >> 16) as usize & last)
    }

    /// Remembers a key; who came first of its set is forgotten.
    pub(crate) fn add(&mut self, hash: u64) {
        if let Some(set) = self.set_of(hash) {
            *set = *set << 16 | fingerprint(hash);
        }
    }

    /// Whether a key was here, as far as is known; it is not any more.
    pub(crate) fn take(&mut self, hash: u64) -> bool {
        let Some(set) = self.set_of(hash) else { return false };
        let at = (0..4).map(|at| at * 16).find(|at| *set >> at & 0xffff == fingerprint(hash));
        if let Some(at) = at {
            *set &= !(0xffff << at);
        }
        at.is_some()
    }
}

/// A power of two, for at least so many keys and at most twice as many.
fn sets_for(keys: usize) -> usize {
    (keys / 4).next_power_of_two().max(16)
}

/// Not 0, which is nobody's.
fn fingerprint(hash: u64) -> u64 {
    (hash & 0xffff).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zmalloc_values::Global;

    fn hash(n: u64) -> u64 {
        (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    }

    #[test]
    fn those_that_came_lately_are_known_once() {
        let mut ghost = Ghost::<Global>::new();
        assert!(!ghost.take(hash(1)));
        ghost.add(hash(1));
        assert!(!ghost.take(hash(1)), "it has no room");
        ghost.fit(1000);
        (0..500).for_each(|n| ghost.add(hash(n)));
        let known = (0..500).filter(|&n| ghost.take(hash(n))).count();
        assert!(known > 450, "{known}");
        assert_eq!((0..500).filter(|&n| ghost.take(hash(n))).count(), 0);
        // Of many that came before, few are.
        (0..50_000).for_each(|n| ghost.add(hash(n)));
        let known = (0..40_000).filter(|&n| ghost.take(hash(n))).count();
        assert!(known < 300, "{known}");
        assert_eq!((ghost.growth_for(1000), ghost.growth_for(4000)), (None, Some(8192)));
    }
}
