//! Blocks of small sizes, counted size by size: the bytes follow from the number, so one addition counts both.

use super::size_class::{ClassTotals, SIZE_CLASSES, size_class};
use super::sync::{AtomicU64, Ordering, const_unless_loom};

/// How many small sizes there are: the multiples of 8 up to 512. Up to there the counters of two slots and the header of a
/// segment take four pages, as many as without.
#[cfg(not(loom))]
pub(crate) const SMALL_SIZES: usize = 512 / STEP + 1;
/// None to model.
#[cfg(loom)]
pub(crate) const SMALL_SIZES: usize = 0;

/// Every allocator's sizes are multiples of this, but those of a few, which are not small then.
const STEP: usize = 8;

/// The place of a block of `bytes` charged bytes among the small sizes; beyond them if it is none.
#[inline(always)]
pub(crate) const fn small_size(bytes: usize) -> usize {
    // What is no multiple has bits that come to stand at the top.
    bytes.rotate_right(STEP.ilog2())
}

/// Blocks of one size, each a sum that only grows.
#[repr(C)]
pub(crate) struct SizeCounts {
    pub(crate) allocated: AtomicU64,
    pub(crate) freed: AtomicU64,
}

impl SizeCounts {
    const_unless_loom! {
        pub(crate) fn new() -> SizeCounts {
            SizeCounts { allocated: AtomicU64::new(0), freed: AtomicU64::new(0) }
        }
    }
}

/// Adds the blocks freed of each small size to the totals of its class.
pub(crate) fn add_freed_to(classes: &mut [ClassTotals; SIZE_CLASSES], sizes: &[SizeCounts]) {
    for (place, count) in sizes.iter().enumerate() {
        add_freed(classes, place, count.freed.load(Ordering::Acquire));
    }
}

/// Adds the blocks allocated of each small size to the totals of its class.
pub(crate) fn add_allocated_to(classes: &mut [ClassTotals; SIZE_CLASSES], sizes: &[SizeCounts]) {
    for (place, count) in sizes.iter().enumerate() {
        add_allocated(classes, place, count.allocated.load(Ordering::Relaxed));
    }
}

/// Adds blocks freed, of the small size of this place, to the totals of its class.
pub(crate) fn add_freed(classes: &mut [ClassTotals; SIZE_CLASSES], place: usize, blocks: u64) {
    let class = &mut classes[size_class(place * STEP)];
    class.blocks_freed = class.blocks_freed.wrapping_add(blocks);
    class.bytes_freed = class.bytes_freed.wrapping_add(blocks.wrapping_mul((place * STEP) as u64));
}

/// Adds blocks allocated, of the small size of this place, to the totals of its class.
pub(crate) fn add_allocated(classes: &mut [ClassTotals; SIZE_CLASSES], place: usize, blocks: u64) {
    let class = &mut classes[size_class(place * STEP)];
    class.blocks_allocated = class.blocks_allocated.wrapping_add(blocks);
    class.bytes_allocated = class.bytes_allocated.wrapping_add(blocks.wrapping_mul((place * STEP) as u64));
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn small_sizes_are_the_multiples_of_the_step_and_keep_their_bytes() {
        for bytes in (0..5000).chain([usize::MAX, usize::MAX - 7, 1 << 63, 1 << 60]) {
            let place = small_size(bytes);
            assert_eq!(place < SMALL_SIZES, bytes % STEP == 0 && bytes <= 512, "{bytes}");
            if place < SMALL_SIZES {
                let mut classes = [ClassTotals::default(); SIZE_CLASSES];
                add_allocated(&mut classes, place, 3);
                add_freed(&mut classes, place, 2);
                let class = classes[size_class(bytes)];
                assert_eq!((class.blocks_live(), class.bytes_live()), (1, bytes as u64));
                assert_eq!((class.blocks_allocated, class.bytes_freed), (3, 2 * bytes as u64));
            }
        }
    }
}
