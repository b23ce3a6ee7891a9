//! Who was here before: fingerprints of keys that were evicted before they were used twice.

use allocator_api2::vec::Vec as VecIn;
use zmalloc_values::{Counted, Memory};

/// Sets of four fingerprints of 16 bits, each in the order in which they came; in chunks, which
/// are there one after the other.
pub(crate) struct Ghost<M: Memory> {
    chunks: VecIn<VecIn<u64, Counted<M>>, Counted<M>>,
    /// How many of the chunks are there.
    filled: usize,
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
        Ghost { chunks: VecIn::new_in(Counted::new()), filled: 0, sets: 0, shift, charged: 0 }
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
        (self.chunks, self.filled, self.sets, self.charged) = (VecIn::new_in(Counted::new()), 0, 0, 0);
    }

    /// A power of two of sets, told apart by bits that neither the bucket's number nor the shard's has all of.
    fn place_of(&self, hash: u64) -> (usize, usize) {
        let set = (hash >> 16) as usize & self.sets.wrapping_sub(1);
        (set >> self.shift, set & ((1 << self.shift) - 1))
    }

    /// Whether it could remember more, with a chunk more.
    pub(crate) fn is_short(&self) -> bool {
        self.filled < self.chunks.len()
    }

    /// Has a chunk more, if there is memory.
    pub(crate) fn grow(&mut self) {
        if let Some(chunk) = self.chunks.get_mut(self.filled)
            && chunk.try_reserve_exact(1 << self.shift).is_ok()
        {
            chunk.resize(1 << self.shift, 0);
            self.charged += chunk.allocator().charged_size();
            self.filled += 1;
        }
    }

    /// Remembers a key, if its chunk is there; who came first of its set is forgotten.
    pub(crate) fn add(&mut self, hash: u64) {
        let (chunk, set) = self.place_of(hash);
        if let Some(set) = self.chunks.get_mut(chunk).and_then(|chunk| chunk.get_mut(set)) {
            *set = *set << 16 | fingerprint(hash);
        }
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
        assert!(!ghost.take(hash(1)));
        ghost.fit(1000);
        ghost.add(hash(1));
        assert!(!ghost.take(hash(1)) && ghost.is_short(), "it has no room yet");
        while ghost.is_short() {
            ghost.grow();
        }
        (0..500).for_each(|n| ghost.add(hash(n)));
        let known = (0..500).filter(|&n| ghost.take(hash(n))).count();
        assert!(known > 450, "{known}");
        assert_eq!((0..500).filter(|&n| ghost.take(hash(n))).count(), 0);
        // Of many that came before, few are.
        (0..50_000).for_each(|n| ghost.add(hash(n)));
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
