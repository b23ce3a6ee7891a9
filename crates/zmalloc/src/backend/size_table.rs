//! The usable sizes of small blocks, learnt from the allocator on the way.

use core::alloc::Layout;
use core::sync::atomic::{AtomicU16, Ordering};

/// For each eight bytes up to 1 KiB, the usable size of a block of that size that needs no more than `malloc`'s
/// alignment; 0 as long as it is not known.
///
/// A formula would have to know how the library was built, and is no faster.
pub(super) struct SizeTable([AtomicU16; SizeTable::SMALL_MAX / 8]);

impl SizeTable {
    /// The largest size in the table.
    pub(super) const SMALL_MAX: usize = 1024;
    /// The largest alignment in the table: `alignof(max_align_t)`.
    pub(super) const ALIGNMENT_MAX: usize = 16;

    pub(super) const fn new() -> SizeTable {
        SizeTable([const { AtomicU16::new(0) }; SizeTable::SMALL_MAX / 8])
    }

    /// The entry for `layout`, unless it is too large or aligned too far. Its size is above 0.
    ///
    /// A size class of 16 bytes and more is a multiple of 16, so that rounding a size up to its alignment does not
    /// leave the class; and a block of a size that is a multiple of its alignment is aligned to it.
    #[inline(always)]
    pub(super) fn entry(&self, layout: Layout) -> Option<Entry<'_>> {
        let size = match layout.align() {
            ..=8 => layout.size(),
            9..=SizeTable::ALIGNMENT_MAX => layout.size().next_multiple_of(SizeTable::ALIGNMENT_MAX),
            _ => return None,
        };
        self.entry_for(size)
    }

    /// The entry for a size above 0.
    #[inline(always)]
    pub(super) fn entry_for(&self, size: usize) -> Option<Entry<'_>> {
        self.0.get((size - 1) / 8).map(|usable| Entry { size, usable })
    }
}

/// What the table knows about a small size.
#[derive(Clone, Copy)]
pub(super) struct Entry<'table> {
    /// The size, rounded up to the alignment: what to ask of `malloc`.
    pub(super) size: usize,
    usable: &'table AtomicU16,
}

impl Entry<'_> {
    /// The usable size, or `None` if it is not known yet.
    #[inline(always)]
    pub(super) fn usable(self) -> Option<usize> {
        match self.usable.load(Ordering::Relaxed) {
            0 => None,
            usable => Some(usize::from(usable)),
        }
    }

    /// Keeps the usable size of every block of this entry.
    pub(super) fn learn(self, usable: usize) {
        if let Ok(usable) = u16::try_from(usable) {
            self.usable.store(usable, Ordering::Relaxed);
        }
    }

    /// The usable size of blocks of both entries, if they are known to be of one size class.
    pub(super) fn usable_of_both(self, other: Entry<'_>) -> Option<usize> {
        self.usable().filter(|usable| other.usable() == Some(*usable))
    }
}
