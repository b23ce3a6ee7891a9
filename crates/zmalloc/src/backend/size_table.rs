//! The usable sizes of small blocks, learnt from the allocator on the way.

use core::alloc::Layout;
use core::num::NonZeroUsize;
use core::sync::atomic::{AtomicU16, Ordering};

/// For each eight bytes up to 8 KiB, the usable size of a block of that size that needs no more than `malloc`'s
/// alignment; 0 as long as it is not known.
///
/// A formula would have to know how the library was built, and is no faster.
pub(super) struct SizeTable([AtomicU16; SizeTable::SMALL_MAX / 8]);

/// The largest alignment that `malloc` gives: `alignof(max_align_t)`.
const ALIGNMENT_MAX: usize = 16;

/// What the table needs to know of a layout: the offset of its last byte, the size rounded up to the alignment; or
/// something beyond every table, if it is aligned further than `malloc` aligns.
///
/// One number without a branch, so that it is all that has to be kept across a call of the allocator.
#[derive(Clone, Copy)]
pub(super) struct Place(usize);

impl Place {
    #[inline(always)]
    pub(super) fn of(layout: Layout) -> Place {
        let last = (layout.size() - 1) | (layout.align() - 1);
        let too_far = layout.align() & !(2 * ALIGNMENT_MAX - 1);
        // 0, or a power of two, whose negative has the sign, which `last` has not. Another `|` would do the same, but the
        // compiler would take the two apart and keep three numbers.
        Place(last ^ too_far.wrapping_neg())
    }

    /// What to ask of `malloc`, if it aligns far enough: a block of a size that is a multiple of an alignment has it.
    #[inline(always)]
    pub(super) fn plain_size(self) -> Option<usize> {
        (self.0 as isize >= 0).then(|| self.0 + 1)
    }

    /// What to ask of `malloc`, if that is in the table.
    #[inline(always)]
    pub(super) fn small_size(self) -> Option<usize> {
        (self.0 < SizeTable::SMALL_MAX).then(|| self.0 + 1)
    }
}

impl SizeTable {
    /// The largest size in the table.
    pub(super) const SMALL_MAX: usize = 8192;

    pub(super) const fn new() -> SizeTable {
        SizeTable([const { AtomicU16::new(0) }; SizeTable::SMALL_MAX / 8])
    }

    /// The usable size of the blocks of this place, if it is known.
    #[inline(always)]
    pub(super) fn usable(&self, place: Place) -> Option<NonZeroUsize> {
        let usable = self.0.get(place.0 / 8)?.load(Ordering::Relaxed);
        NonZeroUsize::new(usable.into())
    }

    /// Keeps the usable size of every block of this place, which is in the table.
    pub(super) fn learn(&self, place: Place, usable: usize) {
        if let Ok(usable) = u16::try_from(usable) {
            self.0[place.0 / 8].store(usable, Ordering::Relaxed);
        }
    }

    /// Whether blocks of both places are known to be of one size class.
    #[inline(always)]
    pub(super) fn are_of_one_class(&self, one: Place, other: Place) -> bool {
        let usable = self.usable(one);
        usable.is_some() && usable == self.usable(other)
    }
}
