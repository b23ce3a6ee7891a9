//! Apple's malloc, by the functions of its zones.

#[cfg(all(target_vendor = "apple", feature = "apple-stand-in"))]
compile_error!(
    "zmalloc: the feature `apple-stand-in` replaces functions that this system has itself; it is for tests elsewhere, \
     so turn it off on Apple's systems"
);

use super::{Allocation, Backend, Reallocation, Statistics, Version};
use core::alloc::Layout;
use core::ffi::{c_uint, c_void};
use core::ptr::null_mut;

/// The system's allocator on macOS, iOS and their relatives.
///
/// A block is charged what `malloc_size` tells, looked up when it is made and when it is freed: the zone that took a
/// request may have rounded it otherwise than `malloc_good_size` would.
#[derive(Clone, Copy, Debug, Default)]
pub struct Apple;

/// What `malloc` promises on all of Apple's systems.
const MALLOC_ALIGNMENT: usize = 16;

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
    unsafe fn allocate(layout: Layout) -> Allocation {
        // SAFETY: no conditions of malloc; a layout's alignment is a power of two.
        unsafe {
            if layout.align() <= MALLOC_ALIGNMENT {
                Self::malloc(plain_size(layout.size(), layout.align()))
            } else {
                Self::malloc_aligned(layout.align(), layout.size())
            }
        }
    }

    #[inline(always)]
    unsafe fn allocate_zeroed(layout: Layout) -> Allocation {
        // SAFETY: no conditions of calloc; a new block has room for the layout's size.
        unsafe {
            if layout.align() <= MALLOC_ALIGNMENT {
                return Self::calloc(plain_size(layout.size(), layout.align()));
            }
            let block = Self::malloc_aligned(layout.align(), layout.size());
            if !block.ptr.is_null() {
                block.ptr.write_bytes(0, layout.size());
            }
            block
        }
    }

    #[inline(always)]
    unsafe fn deallocate(ptr: *mut u8, _: Layout) -> usize {
        // SAFETY: the caller's contract.
        unsafe { Self::free(ptr) }
    }

    #[inline(always)]
    unsafe fn reallocate(ptr: *mut u8, layout: Layout, new_size: usize) -> Reallocation {
        // SAFETY: the caller's contract; the copy stays within both blocks, which are distinct.
        unsafe {
            if layout.align() <= MALLOC_ALIGNMENT {
                return Self::realloc(ptr, plain_size(new_size, layout.align()));
            }
            let new = Self::malloc_aligned(layout.align(), new_size);
            if new.ptr.is_null() {
                return Reallocation::REFUSED;
            }
            new.ptr.copy_from_nonoverlapping(ptr, layout.size().min(new_size));
            Reallocation { ptr: new.ptr, credited: Self::free(ptr), charged: new.charged }
        }
    }

    #[inline(always)]
    unsafe fn malloc(size: usize) -> Allocation {
        // SAFETY: no conditions.
        unsafe { allocation(libc::malloc(size)) }
    }

    #[inline(always)]
    unsafe fn calloc(size: usize) -> Allocation {
        // SAFETY: no conditions.
        unsafe { allocation(libc::calloc(1, size)) }
    }

    unsafe fn malloc_aligned(alignment: usize, size: usize) -> Allocation {
        let mut block: *mut c_void = null_mut();
        // SAFETY: `block` is writable; the alignment is a power of two and a multiple of a pointer's size.
        unsafe {
            match libc::posix_memalign(&mut block, alignment.max(size_of::<*mut c_void>()), size) {
                0 => allocation(block),
                _ => Allocation::REFUSED,
            }
        }
    }

    unsafe fn realloc(ptr: *mut u8, size: usize) -> Reallocation {
        // SAFETY: a live block of this allocator, before and after.
        unsafe {
            let credited = Self::usable_size(ptr);
            let new = allocation(libc::realloc(ptr.cast(), size));
            if new.ptr.is_null() {
                return Reallocation::REFUSED;
            }
            Reallocation { ptr: new.ptr, credited, charged: new.charged }
        }
    }

    #[inline(always)]
    unsafe fn free(ptr: *mut u8) -> usize {
        // SAFETY: a live block.
        unsafe {
            let size = Self::usable_size(ptr);
            libc::free(ptr.cast());
            size
        }
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

/// What to ask of `malloc` for a block of at most its alignment: it promises that only to blocks which are as large,
/// and where it is replaced, as by tcmalloc, it gives no more than it promises.
#[inline(always)]
fn plain_size(size: usize, alignment: usize) -> usize {
    size.max(alignment)
}

/// # Safety
/// `ptr` is null or a live block.
#[inline(always)]
unsafe fn allocation(ptr: *mut c_void) -> Allocation {
    if ptr.is_null() {
        return Allocation::REFUSED;
    }
    // SAFETY: a live block.
    Allocation { ptr: ptr.cast(), charged: unsafe { malloc_size(ptr) } }
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
                assert!(good >= size && block.charged >= good, "{size}: {good}, {block:?}");
                assert_eq!(Apple::free(block.ptr), block.charged);
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
            Apple::free(block.ptr);
        }
        assert!(Apple::purge());
    }
}
