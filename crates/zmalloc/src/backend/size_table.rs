//! The usable sizes of small blocks, by layout.

use core::alloc::Layout;
use core::sync::atomic::{AtomicU32, Ordering};

/// The largest size in the tables.
const SMALL_MAX: usize = 8192;

/// Sizes that are rounded up to the same multiple of this are of one size class. Every block is aligned so far.
const STEP: usize = 8;

/// The largest alignment that `malloc` gives: `alignof(max_align_t)`.
const ALIGNMENT_MAX: usize = 16;

/// What to ask of `malloc` for a block of this layout, if it aligns far enough: a block of a size that is a multiple of
/// an alignment has it.
#[inline(always)]
pub(super) fn plain_size(layout: Layout) -> Option<usize> {
    // Tested first, so that the usual layout has its size as it is.
    if layout.align() <= STEP {
        return Some(layout.size());
    }
    (layout.align() <= ALIGNMENT_MAX).then(|| layout.size().next_multiple_of(ALIGNMENT_MAX))
}

/// The same, if that is in the tables.
#[inline(always)]
pub(super) fn small_size(layout: Layout) -> Option<usize> {
    plain_size(layout).filter(|&size| size <= SMALL_MAX)
}

/// For each eight bytes up to 8 KiB the usable size, learnt from the allocator on the way; 0 as long as it is unknown.
///
/// A formula would have to know how the library was built, and is no faster.
pub(super) struct SizeTable([AtomicU32; SMALL_MAX / STEP]);

impl SizeTable {
    pub(super) const fn new() -> SizeTable {
        SizeTable([const { AtomicU32::new(0) }; SMALL_MAX / STEP])
    }

    /// The usable size of the blocks of this layout, if it is known and the layout is a usual one: an alignment above
    /// 8 is left to [`charge`](SizeTable::charge), as rounding to it would cost all others two instructions.
    #[inline(always)]
    pub(super) fn at_hand(&self, layout: Layout) -> Option<usize> {
        if layout.align() <= STEP { self.get(layout.size()) } else { None }
    }

    /// The bytes to charge for a block of this layout: its usable size, which is looked up, and learnt if `of_all` says
    /// that every block of this size has it, unless it is known.
    #[inline(always)]
    pub(super) fn charge(
        &self,
        layout: Layout,
        look_up: impl FnOnce() -> usize,
        of_all: impl FnOnce(usize, usize) -> bool,
    ) -> usize {
        if let Some(usable) = self.at_hand(layout) { usable } else { self.learn(layout, look_up, of_all) }
    }

    #[cold]
    #[inline(never)]
    fn learn(
        &self,
        layout: Layout,
        look_up: impl FnOnce() -> usize,
        of_all: impl FnOnce(usize, usize) -> bool,
    ) -> usize {
        let size = small_size(layout);
        if let Some(usable) = size.and_then(|size| self.get(size)) {
            return usable;
        }
        let usable = look_up();
        if let (Some(size), Ok(entry)) = (size.filter(|&size| of_all(size, usable)), u32::try_from(usable)) {
            self.0[(size - 1) / STEP].store(entry, Ordering::Relaxed);
        }
        usable
    }

    /// The usable size of the blocks of a size above 0, if it is known.
    #[inline(always)]
    fn get(&self, size: usize) -> Option<usize> {
        let usable = self.0.get((size - 1) / STEP)?.load(Ordering::Relaxed);
        (usable != 0).then_some(usable as usize)
    }

    /// Whether blocks of both layouts are known to be of one size class.
    #[inline(always)]
    pub(super) fn are_of_one_class(&self, one: Layout, other: Layout) -> bool {
        let usable = |layout| small_size(layout).and_then(|size| self.get(size));
        usable(one).is_some() && usable(one) == usable(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, alignment: usize) -> Layout {
        Layout::from_size_align(size, alignment).unwrap()
    }

    #[test]
    fn a_size_is_looked_up_once_and_then_known_for_its_step() {
        let sizes = SizeTable::new();
        let charge = |layout, usable: usize| sizes.charge(layout, || usable, |size, usable| size <= usable);
        assert_eq!(sizes.at_hand(layout(33, 1)), None);
        assert_eq!(charge(layout(33, 8), 40), 40);
        assert_eq!((charge(layout(40, 1), 0), sizes.at_hand(layout(36, 4))), (40, Some(40)));
        // Rounded up to its alignment this is of the next size.
        assert_eq!((charge(layout(40, 16), 48), sizes.at_hand(layout(41, 1))), (48, Some(48)));
        assert!(sizes.are_of_one_class(layout(33, 1), layout(40, 8)));
        assert!(!sizes.are_of_one_class(layout(40, 8), layout(40, 16)));
        // Where not all blocks of the size have it, beyond the table, or aligned further: asked each time.
        for (layout, usable) in [(layout(90, 1), 80), (layout(8193, 1), 9000), (layout(64, 32), 64)] {
            assert_eq!((charge(layout, usable), charge(layout, usable + 1)), (usable, usable + 1));
        }
    }
}
