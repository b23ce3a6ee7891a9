//! mimalloc, whose small blocks are known by their layout.

use super::size_table::{Place, SizeTable};
use super::{Backend, Version};
use core::alloc::Layout;
use libmimalloc_sys as sys;

/// mimalloc 3.3, bundled by `libmimalloc-sys`.
///
/// A block by layout of up to 8 KiB has the size class of its layout, so nothing is looked up; a resize by layout keeps
/// that true by moving such a block when its class changes, where mimalloc would leave it up to half empty. Larger
/// blocks, those aligned beyond 16 bytes, and C's `free` and `realloc` cost one look-up. Built with padding (the
/// features `secure` and `debug` of `libmimalloc-sys`), every block is looked up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mimalloc;

static SIZES: SizeTable = SizeTable::new();

// SAFETY: 1. a block's usable size does not change while it lives, and a small one by layout has that of its table
// entry: see `look_up` and `reallocate`. 2. Refusals are null pointers and this is C. 3. It calls nothing of ours.
unsafe impl Backend for Mimalloc {
    const NAME: &'static str = "mimalloc";

    fn version() -> Version {
        // SAFETY: no conditions.
        let version = unsafe { sys::mi_version() } as u32;
        // Two digits each for minor and patch.
        Version::from_numbers(version / 10_000, version / 100 % 100, version % 100)
    }

    #[inline(always)]
    unsafe fn allocate(layout: Layout) -> *mut u8 {
        // SAFETY: no conditions of mi_malloc; a layout's alignment is a power of two.
        unsafe {
            match Place::of(layout).plain_size() {
                Some(size) => sys::mi_malloc(size).cast(),
                None => sys::mi_malloc_aligned(layout.size(), layout.align()).cast(),
            }
        }
    }

    #[inline(always)]
    unsafe fn allocate_zeroed(layout: Layout) -> *mut u8 {
        // SAFETY: as in `allocate`.
        unsafe {
            match Place::of(layout).plain_size() {
                Some(size) => sys::mi_zalloc(size).cast(),
                None => sys::mi_zalloc_aligned(layout.size(), layout.align()).cast(),
            }
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
            let after = Place::of(resized);
            if after.small_size().is_none() {
                // The block stays or becomes one that is looked up.
                return sys::mi_realloc_aligned(ptr.cast(), new_size, layout.align()).cast();
            }
            if SIZES.are_of_one_class(Place::of(layout), after) {
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
        // SAFETY: no conditions.
        unsafe { sys::mi_malloc(size.max(1)).cast() }
    }

    #[inline(always)]
    unsafe fn calloc(size: usize) -> *mut u8 {
        // SAFETY: no conditions.
        unsafe { sys::mi_zalloc(size.max(1)).cast() }
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
        // SAFETY: a live block and its layout.
        unsafe { Self::charged_at_hand(ptr, layout).unwrap_or_else(|| look_up(ptr, Place::of(layout))) }
    }

    #[inline(always)]
    unsafe fn charged_at_hand(ptr: *const u8, layout: Layout) -> Option<usize> {
        let usable = SIZES.usable(Place::of(layout))?.get();
        // SAFETY: a live block.
        debug_assert_eq!(usable, unsafe { Self::usable_size(ptr) });
        Some(usable)
    }

    // No statistics: without its slower build mimalloc knows only what it committed, touched or not, also after it gave
    // that back.

    fn purge() -> bool {
        // SAFETY: no conditions.
        unsafe { sys::mi_collect(true) };
        true
    }
}

/// The usable size of a block that is large or aligned far, or the first of its class.
///
/// # Safety
/// `ptr` is a live block of this place.
#[cold]
#[inline(never)]
unsafe fn look_up(ptr: *const u8, place: Place) -> usize {
    // SAFETY: a live block.
    let usable = unsafe { Mimalloc::usable_size(ptr) };
    if let Some(size) = place.small_size()
        // Where blocks are padded the usable size is below the good one, and not the same for every size of an entry.
        // SAFETY: no conditions.
        && usable == unsafe { sys::mi_good_size(size) }
    {
        SIZES.learn(place, usable);
    }
    usable
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
