//! Who was here before: fingerprints of keys that were evicted before they were used twice.

use allocator_api2::vec::Vec as VecIn;
use zmalloc_values::{Counted, Memory};

/// Sets of four fingerprints of 16 bits, each in the order in which they came; in chunks, each of which is there once somebody is
/// remembered in it.
pub(crate) struct Ghost<M: Memory> {
    chunks: VecIn<VecIn<u64, Counted<M>>, Counted<M>>,
    /// All sets, a power of two, or none.
    sets: usize,
    /// The power of two of sets in a chunk.
    shift: u32,
    charged: usize,
}

impl<M: Memory> Ghost<M> {
    /// With chunks of so many bytes, a power of two.
    pub(crate) fn new(chunk_bytes: usize) -> Self {
        let shift = (chunk_bytes / size_of::<u64>()).ilog2();
        Ghost { chunks: VecIn::new_in(Counted::new()), sets: 0, shift, charged: 0 }
    }

    pub(crate) fn charged(&self) -> usize {
        self.charged + self.chunks.allocator().charged_size()
    }

    pub(crate) fn chunk_bytes(&self) -> usize {
        size_of::<u64>() << self.shift
    }

    /// Remembers about as many as there are keys, from now on; nobody if that is not as many as until now.
    pub(crate) fn fit(&mut self, keys: usize) {
        let sets = sets_for(keys).max(1 << self.shift);
        if sets > self.sets || sets * 4 < self.sets {
            self.forget();
            let chunks = sets >> self.shift;
            if self.chunks.try_reserve_exact(chunks).is_ok() {
                self.chunks.resize_with(chunks, || VecIn::new_in(Counted::new()));
                self.sets = sets;
            }
        }
    }

    /// Remembers nobody, and gives its memory back.
    pub(crate) fn forget(&mut self) {
        (self.chunks, self.sets, self.charged) = (VecIn::new_in(Counted::new()), 0, 0);
    }

    /// A power of two of sets, told apart by bits that neither the bucket's number nor the shard's has all of.
    fn place_of(&self, hash: u64) -> (usize, usize) {
        let set = (hash >> 16) as usize & self.sets.wrapping_sub(1);
        (set >> self.shift, set & ((1 << self.shift) - 1))
    }

    /// Remembers a key, if there is memory or `may_grow`; who came first of its set is forgotten.
    pub(crate) fn add(&mut self, hash: u64, may_grow: bool) {
        let (chunk, set) = self.place_of(hash);
        let Some(chunk) = self.chunks.get_mut(chunk) else { return };
        if chunk.is_empty() {
            if !may_grow || chunk.try_reserve_exact(1 << self.shift).is_err() {
                return;
            }
            chunk.resize(1 << self.shift, 0);
            self.charged += chunk.allocator().charged_size();
        }
        chunk[set] = chunk[set] << 16 | fingerprint(hash);
    }

    /// Whether a key was here, as far as is known; it is not any more.
    pub(crate) fn take(&mut self, hash: u64) -> bool {
        let (chunk, set) = self.place_of(hash);
        let Some(set) = self.chunks.get_mut(chunk).and_then(|chunk| chunk.get_mut(set)) else { return false };
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
        let mut ghost = Ghost::<Global>::new(512);
        let add = |ghost: &mut Ghost<Global>, n| ghost.add(hash(n), true);
        assert!(!ghost.take(hash(1)));
        add(&mut ghost, 1);
        assert!(!ghost.take(hash(1)), "it has no room");
        ghost.fit(1000);
        ghost.add(hash(1), false);
        assert!(!ghost.take(hash(1)), "it may not have");
        (0..500).for_each(|n| add(&mut ghost, n));
        let known = (0..500).filter(|&n| ghost.take(hash(n))).count();
        assert!(known > 450, "{known}");
        assert_eq!((0..500).filter(|&n| ghost.take(hash(n))).count(), 0);
        // Of many that came before, few are.
        (0..50_000).for_each(|n| add(&mut ghost, n));
        let known = (0..40_000).filter(|&n| ghost.take(hash(n))).count();
        assert!(known < 300, "{known}");
        let charged = ghost.charged();
        assert!((2048..4096).contains(&charged), "{charged}");
        ghost.fit(900);
        assert_eq!(ghost.charged(), charged);
        ghost.fit(4000);
        assert!(ghost.charged() < charged);
    }
}
