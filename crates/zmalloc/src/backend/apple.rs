//! Apple's malloc, by the functions of its zones.

#[cfg(all(target_vendor = "apple", feature = "apple-stand-in"))]
compile_error!(
    "zmalloc: the feature `apple-stand-in` replaces functions that this system has itself; it is for tests elsewhere, \
     so turn it off on Apple's systems"
);

use super::{Backend, Statistics, Version, c_calls};
use core::alloc::Layout;
use core::ffi::{c_uint, c_void};
use core::ptr::null_mut;

/// The system's allocator on macOS, iOS and their relatives.
///
/// A block is charged what `malloc_size` tells, looked up when it is made and when it is freed: the zone that took a
/// request may have rounded it otherwise than `malloc_good_size` would.
#[derive(Clone, Copy, Debug, Default)]
pub struct Apple;

/// `malloc_statistics_t` of `<malloc/malloc.h>`.
#[repr(C)]
#[derive(Default)]
struct ZoneStatistics {
    blocks_in_use: c_uint,
    size_in_use: usize,
    max_size_in_use: usize,
    size_allocated: usize,
}

// Apple's, or of `apple_stand_in.c`.
unsafe extern "C" {
    fn malloc_size(ptr: *const c_void) -> usize;
    fn malloc_zone_statistics(zone: *mut c_void, statistics: *mut ZoneStatistics);
    fn malloc_zone_pressure_relief(zone: *mut c_void, goal: usize) -> usize;
}

// SAFETY: 1. `malloc_size` of a block does not change while it lives. 2. Refusals are null pointers and this is C.
// 3. It calls nothing of ours.
unsafe impl Backend for Apple {
    const NAME: &'static str = "apple";

    /// Unknown: the allocator is a part of the system.
    fn version() -> Version {
        Version::UNKNOWN
    }

    #[inline(always)]
    unsafe fn allocate(layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is the callee's.
        unsafe { c_calls::allocate(layout) }
    }

    #[inline(always)]
    unsafe fn allocate_zeroed(layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is the callee's.
        unsafe { c_calls::allocate_zeroed(layout) }
    }

    #[inline(always)]
    unsafe fn deallocate(ptr: *mut u8, _: Layout) {
        // SAFETY: a live block.
        unsafe { c_calls::free(ptr) }
    }

    #[inline(always)]
    unsafe fn reallocate(ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's contract is the callee's.
        unsafe { c_calls::reallocate(ptr, layout, new_size) }
    }

    #[inline(always)]
    unsafe fn malloc(size: usize) -> *mut u8 {
        // SAFETY: no conditions.
        unsafe { c_calls::malloc(size) }
    }

    #[inline(always)]
    unsafe fn calloc(size: usize) -> *mut u8 {
        // SAFETY: no conditions.
        unsafe { c_calls::calloc(size) }
    }

    #[inline(always)]
    unsafe fn malloc_aligned(alignment: usize, size: usize) -> *mut u8 {
        // SAFETY: a power of two.
        unsafe { c_calls::malloc_aligned(alignment, size) }
    }

    #[inline(always)]
    unsafe fn realloc(ptr: *mut u8, size: usize) -> *mut u8 {
        // SAFETY: the caller's contract is the callee's.
        unsafe { c_calls::realloc(ptr, size) }
    }

    #[inline(always)]
    unsafe fn free(ptr: *mut u8) {
        // SAFETY: a live block.
        unsafe { c_calls::free(ptr) }
    }

    #[inline(always)]
    unsafe fn usable_size(ptr: *const u8) -> usize {
        // SAFETY: a live block.
        unsafe { malloc_size(ptr.cast()) }
    }

    fn statistics() -> Statistics {
        let mut zones = ZoneStatistics::default();
        // SAFETY: null asks for all zones together; the figures are written to a local of the C type's shape.
        unsafe { malloc_zone_statistics(null_mut(), &mut zones) };
        // `size_allocated` is address space, with RAM behind or without, so it is none of the other figures.
        Statistics { allocated: Some(zones.size_in_use), ..Statistics::default() }
    }

    fn purge() -> bool {
        // SAFETY: null asks all zones, 0 for as much as they can. How much that was is not always told.
        unsafe { malloc_zone_pressure_relief(null_mut(), 0) };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C" {
        fn malloc_good_size(size: usize) -> usize;
    }

    #[test]
    fn a_good_size_is_used_in_full() {
        for size in (0..5000).step_by(13) {
            // SAFETY: no conditions; the block is freed once.
            unsafe {
                let good = malloc_good_size(size);
                let block = Apple::malloc(good);
                let charged = Apple::charged_size(block);
                assert!(good >= size && charged >= good, "{size}: {good}, {charged}");
                Apple::free(block);
            }
        }
    }

    #[test]
    fn null_has_no_size() {
        // SAFETY: Apple documents 0 for what is no block.
        assert_eq!(unsafe { malloc_size(core::ptr::null()) }, 0);
    }

    // With tcmalloc in the process, the stand-in asks a malloc that is not in use.
    #[cfg(not(feature = "tcmalloc"))]
    #[test]
    fn tells_what_is_in_use() {
        // SAFETY: the block is freed once.
        unsafe {
            let block = Apple::malloc(1 << 20);
            assert!(Apple::statistics().allocated.unwrap() >= 1 << 20);
            Apple::free(block);
        }
        assert!(Apple::purge());
    }
}
