//! Values that do not lie in the log, each by a number that it keeps.

use allocator_api2::vec::Vec as VecIn;
use zmalloc_values::{Counted, Memory};

/// Values that are allocated together: more of them do not move those that there are.
const CHUNK: usize = 64;

enum Cell<T> {
    /// One more than the number of the next, or 0.
    Free(u32),
    Used(T),
}

pub(crate) struct Slab<T, M: Memory> {
    chunks: VecIn<VecIn<Cell<T>, Counted<M>>, Counted<M>>,
    free: u32,
    count: usize,
    charged: usize,
}

impl<T, M: Memory> Slab<T, M> {
    pub(crate) fn new() -> Self {
        Slab { chunks: VecIn::new_in(Counted::new()), free: 0, count: 0, charged: 0 }
    }

    pub(crate) fn charged(&self) -> usize {
        self.charged + self.chunks.allocator().charged_size()
    }

    /// Bytes that may come to that at the next insertion.
    pub(crate) fn next_growth(&self) -> usize {
        if self.free != 0 {
            return 0;
        }
        let list = if self.chunks.len() < self.chunks.capacity() { 0 } else { self.chunks.len().max(2) * 2 };
        let bytes = CHUNK * size_of::<Cell<T>>() + list * size_of::<VecIn<Cell<T>, Counted<M>>>();
        // What an allocator may round up.
        bytes + bytes / 4
    }

    /// Gives a value a number; the value, if there is no memory.
    pub(crate) fn insert(&mut self, value: T) -> Result<u32, T> {
        if self.free == 0 && !self.add_chunk() {
            return Err(value);
        }
        let number = self.free - 1;
        let cell = &mut self.chunks[number as usize / CHUNK][number as usize % CHUNK];
        if let Cell::Free(next) = std::mem::replace(cell, Cell::Used(value)) {
            self.free = next;
        }
        self.count += 1;
        Ok(number)
    }

    fn add_chunk(&mut self) -> bool {
        let mut chunk = VecIn::new_in(Counted::new());
        if chunk.try_reserve_exact(CHUNK).is_err() || self.chunks.try_reserve(1).is_err() {
            return false;
        }
        let first = (self.chunks.len() * CHUNK) as u32;
        chunk
            .extend((1..=CHUNK as u32).map(|next| Cell::Free(if next == CHUNK as u32 { 0 } else { first + next + 1 })));
        self.charged += chunk.allocator().charged_size();
        self.chunks.push(chunk);
        self.free = first + 1;
        true
    }

    /// The value of a number that was given and not taken back.
    pub(crate) fn get(&self, number: u32) -> &T {
        match &self.chunks[number as usize / CHUNK][number as usize % CHUNK] {
            Cell::Used(value) => value,
            Cell::Free(_) => unreachable!("a number that was taken back"),
        }
    }

    /// The value of such a number, to be changed.
    pub(crate) fn get_mut(&mut self, number: u32) -> &mut T {
        match &mut self.chunks[number as usize / CHUNK][number as usize % CHUNK] {
            Cell::Used(value) => value,
            Cell::Free(_) => unreachable!("a number that was taken back"),
        }
    }

    /// Takes a number back, with its value. All memory, once none is left.
    pub(crate) fn remove(&mut self, number: u32) -> T {
        let cell = &mut self.chunks[number as usize / CHUNK][number as usize % CHUNK];
        let Cell::Used(value) = std::mem::replace(cell, Cell::Free(self.free)) else {
            unreachable!("a number that was taken back");
        };
        self.free = number + 1;
        self.count -= 1;
        if self.count == 0 {
            *self = Slab::new();
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zmalloc_values::Global;

    #[test]
    fn values_keep_their_numbers_which_are_given_again() {
        let mut slab = Slab::<String, Global>::new();
        let numbers: Vec<u32> = (0..200).map(|n| slab.insert(n.to_string()).unwrap()).collect();
        assert!(numbers.iter().enumerate().all(|(n, &number)| *slab.get(number) == n.to_string()));
        let charged = slab.charged();
        assert!((0..100).all(|n| slab.remove(numbers[n]) == n.to_string()));
        let again: Vec<u32> = (0..100).map(|n| slab.insert(n.to_string()).unwrap()).collect();
        assert_eq!(slab.charged(), charged);
        again.into_iter().chain(numbers[100..].iter().copied()).for_each(|number| drop(slab.remove(number)));
        assert_eq!(slab.charged(), 0);
    }
}
