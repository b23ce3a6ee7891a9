//! The size classes of the detailed ledger: four to a doubling, whatever the backend's own classes are.

use super::sync::{AtomicU64, Ordering, const_unless_loom};

/// How many size classes the ledger tells apart. The last one also takes every larger block.
#[cfg(not(loom))]
pub const SIZE_CLASSES: usize = 128;
/// One class is enough to model.
#[cfg(loom)]
pub const SIZE_CLASSES: usize = 1;

/// The size class of a block of `bytes` charged bytes: 0 to 8, 9 to 16, then four classes to each doubling.
#[inline(always)]
pub const fn size_class(bytes: usize) -> usize {
    if bytes <= 16 {
        return if SIZE_CLASSES == 1 { 0 } else { (bytes > 8) as usize };
    }
    let below = bytes - 1;
    let doubling = below.ilog2() as usize;
    let class = 2 + (doubling - 4) * 4 + ((below >> (doubling - 2)) & 3);
    if class < SIZE_CLASSES { class } else { SIZE_CLASSES - 1 }
}

/// The largest block, in bytes, that belongs to `class`; the last class has no upper end, so it gives `usize::MAX`.
pub const fn size_class_limit(class: usize) -> usize {
    if class < 2 {
        return 8 * (class + 1);
    }
    if class >= SIZE_CLASSES - 1 {
        return usize::MAX;
    }
    let (doubling, quarter) = (4 + (class - 2) / 4, (class - 2) % 4);
    (1 << doubling) + ((quarter + 1) << (doubling - 2))
}

/// Blocks and bytes of one size class, each a sum that only grows.
#[repr(C)]
pub(crate) struct ClassCounts {
    pub(crate) blocks_allocated: AtomicU64,
    pub(crate) bytes_allocated: AtomicU64,
    pub(crate) blocks_freed: AtomicU64,
    pub(crate) bytes_freed: AtomicU64,
}

impl ClassCounts {
    const_unless_loom! {
        pub(crate) fn new() -> ClassCounts {
            ClassCounts {
                blocks_allocated: AtomicU64::new(0),
                bytes_allocated: AtomicU64::new(0),
                blocks_freed: AtomicU64::new(0),
                bytes_freed: AtomicU64::new(0),
            }
        }
    }

    pub(crate) fn add_freed_to(&self, total: &mut ClassTotals) {
        total.blocks_freed = total.blocks_freed.wrapping_add(self.blocks_freed.load(Ordering::Acquire));
        total.bytes_freed = total.bytes_freed.wrapping_add(self.bytes_freed.load(Ordering::Acquire));
    }

    pub(crate) fn add_allocated_to(&self, total: &mut ClassTotals) {
        total.blocks_allocated = total.blocks_allocated.wrapping_add(self.blocks_allocated.load(Ordering::Relaxed));
        total.bytes_allocated = total.bytes_allocated.wrapping_add(self.bytes_allocated.load(Ordering::Relaxed));
    }
}

/// What was allocated and freed in one size class since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ClassTotals {
    /// Blocks ever allocated.
    pub blocks_allocated: u64,
    /// Charged bytes of the blocks ever allocated.
    pub bytes_allocated: u64,
    /// Blocks ever freed.
    pub blocks_freed: u64,
    /// Charged bytes of the blocks ever freed.
    pub bytes_freed: u64,
}

impl ClassTotals {
    /// Blocks the program holds now.
    pub const fn blocks_live(&self) -> u64 {
        self.blocks_allocated.saturating_sub(self.blocks_freed)
    }

    /// Charged bytes of the blocks the program holds now.
    pub const fn bytes_live(&self) -> u64 {
        self.bytes_allocated.saturating_sub(self.bytes_freed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_size_lies_between_the_limits_of_its_class() {
        let sizes = (0..100_000usize).chain((17..36).flat_map(|p| [(1usize << p) - 1, 1 << p, (1 << p) + 1]));
        for bytes in sizes {
            let class = size_class(bytes);
            assert!(bytes <= size_class_limit(class), "{bytes} above class {class}");
            assert!(class == 0 || bytes > size_class_limit(class - 1), "{bytes} below class {class}");
        }
        assert_eq!(size_class(usize::MAX), SIZE_CLASSES - 1);
    }
}
