//! mimalloc, whose small blocks are known by their layout.

use super::size_table::{SizeTable, plain_size, small_size};
use super::{Backend, Version};
use core::alloc::Layout;
use libmimalloc_sys as sys;

/// mimalloc 3.3, bundled by `libmimalloc-sys`.
///
/// A block by layout of up to 8 KiB has the size class of its layout, so nothing is looked up; a resize by layout keeps
/// that true by moving such a block when its class changes, where mimalloc would leave it up to half empty. Larger
/// blocks, those aligned beyond 16 bytes, and C's `free` and `realloc` cost one look-up. Built with padding (the
/// features `secure` and `debug` of `libmimalloc-sys`), every block is looked up.
///
/// mimalloc has no handlers for forks: its locks, taken when a thread begins or ends and when memory comes from the system,
/// stay locked for good in a child that is forked while another thread has them. Such a child must not allocate.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mimalloc;

static SIZES: SizeTable = SizeTable::new();

// SAFETY: 1. a block's usable size does not change while it lives, and a small one by layout has that of its table
// entry: see `charged_size_of` and `reallocate`. 2. Refusals are null pointers and this is C. 3. It calls nothing of
// ours.
unsafe impl Backend for Mimalloc {
    const NAME: &'static str = "mimalloc";
    const CHARGES_AHEAD: bool = true;

    fn version() -> Version {
        // SAFETY: no conditions.
        let version = unsafe { sys::mi_version() } as u32;
        // Two digits each for minor and patch.
        Version::from_numbers(version / 10_000, version / 100 % 100, version % 100)
    }

    #[inline(always)]
    unsafe fn allocate(layout: Layout) -> *mut u8 {
        match plain_size(layout) {
            Some(size) => plain(size),
            // SAFETY: a layout's alignment is a power of two.
            None => unsafe { sys::mi_malloc_aligned(layout.size(), layout.align()).cast() },
        }
    }

    #[inline(always)]
    unsafe fn allocate_zeroed(layout: Layout) -> *mut u8 {
        match plain_size(layout) {
            Some(size) => plain_zeroed(size),
            // SAFETY: a layout's alignment is a power of two.
            None => unsafe { sys::mi_zalloc_aligned(layout.size(), layout.align()).cast() },
        }
    }

    #[inline(always)]
    unsafe fn deallocate(ptr: *mut u8, _: Layout) {
        // SAFETY: the caller's contract.
        unsafe { Self::free(ptr) }
    }

    #[inline]
    unsafe fn reallocate(ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's contract makes the new layout valid; the copy stays within both blocks, which are
        // distinct.
        unsafe {
            let resized = Layout::from_size_align_unchecked(new_size, layout.align());
            if small_size(resized).is_none() {
                // The block stays or becomes one that is looked up.
                return sys::mi_realloc_aligned(ptr.cast(), new_size, layout.align()).cast();
            }
            if SIZES.are_of_one_class(layout, resized) {
                return ptr;
            }
            let new = Self::allocate(resized);
            if !new.is_null() {
                new.copy_from_nonoverlapping(ptr, layout.size().min(new_size));
                Self::free(ptr);
            }
            new
        }
    }

    #[inline(always)]
    unsafe fn malloc(size: usize) -> *mut u8 {
        plain(size.max(1))
    }

    #[inline(always)]
    unsafe fn calloc(size: usize) -> *mut u8 {
        plain_zeroed(size.max(1))
    }

    #[inline(always)]
    unsafe fn malloc_aligned(alignment: usize, size: usize) -> *mut u8 {
        // SAFETY: a power of two.
        unsafe { sys::mi_malloc_aligned(size.max(1), alignment).cast() }
    }

    #[inline(always)]
    unsafe fn realloc(ptr: *mut u8, size: usize) -> *mut u8 {
        // SAFETY: a live block.
        unsafe { sys::mi_realloc(ptr.cast(), size).cast() }
    }

    #[inline(always)]
    unsafe fn free(ptr: *mut u8) {
        // SAFETY: a live block.
        unsafe { sys::mi_free(ptr.cast()) }
    }

    #[inline(always)]
    unsafe fn usable_size(ptr: *const u8) -> usize {
        // SAFETY: a live block.
        unsafe { sys::mi_usable_size(ptr.cast()) }
    }

    #[inline(always)]
    unsafe fn charged_size_of(ptr: *const u8, layout: Layout) -> usize {
        // Where blocks are padded the usable size is below the good one, and not the same for every size of an entry.
        // SAFETY: a live block and its layout.
        let usable = unsafe {
            SIZES.charge(layout, || Self::usable_size(ptr), |size, usable| usable == sys::mi_good_size(size))
        };
        // SAFETY: a live block.
        debug_assert_eq!(usable, unsafe { Self::usable_size(ptr) });
        usable
    }

    #[inline(always)]
    unsafe fn charged_at_hand(ptr: *const u8, layout: Layout) -> Option<usize> {
        let usable = SIZES.at_hand(layout)?;
        // SAFETY: a live block.
        debug_assert_eq!(usable, unsafe { Self::usable_size(ptr) });
        Some(usable)
    }

    #[inline(always)]
    fn charge_ahead(layout: Layout) -> Option<usize> {
        SIZES.at_hand(layout)
    }

    // No statistics: without its slower build mimalloc knows only what it committed, touched or not, also after it gave
    // that back.

    fn purge() -> bool {
        // SAFETY: no conditions.
        unsafe { sys::mi_collect(true) };
        true
    }
}

/// A block of a size above 0. The function for small ones gives out the usual block without a jump to another, in half
/// of the instructions.
#[inline(always)]
fn plain(size: usize) -> *mut u8 {
    // SAFETY: a small size where it has to be.
    unsafe { if size <= sys::MI_SMALL_SIZE_MAX { sys::mi_malloc_small(size) } else { sys::mi_malloc(size) }.cast() }
}

/// As [`plain`], filled with zeros.
#[inline(always)]
fn plain_zeroed(size: usize) -> *mut u8 {
    // SAFETY: a small size where it has to be.
    unsafe { if size <= sys::MI_SMALL_SIZE_MAX { sys::mi_zalloc_small(size) } else { sys::mi_zalloc(size) }.cast() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_its_version() {
        // 2 with the feature `v2` of `libmimalloc-sys`.
        assert!(Mimalloc::version().as_str().starts_with(['2', '3']), "{}", Mimalloc::version());
    }

    #[test]
    fn a_block_cut_out_of_a_larger_one_is_charged_what_is_left() {
        // SAFETY: powers of two; every block is freed once.
        unsafe {
            for alignment in [32, 64, 4096, 65536] {
                let blocks: Vec<_> = (1..200).map(|n| Mimalloc::malloc_aligned(alignment, n * 7)).collect();
                let charges: Vec<_> = blocks.iter().map(|&block| Mimalloc::charged_size(block)).collect();
                for (block, charged) in blocks.into_iter().zip(charges) {
                    assert_eq!(charged, Mimalloc::charged_size(block));
                    Mimalloc::free(block);
                }
            }
        }
    }
}
