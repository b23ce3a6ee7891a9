//! snmalloc, whose size classes are a formula.

use super::{Allocation, Backend, Reallocation, Statistics, Version};
use core::alloc::Layout;
use core::ffi::c_void;
use snmalloc_sys as sys;

/// snmalloc 0.7, bundled by `snmalloc-sys`.
///
/// A block's usable size follows from size and alignment alone, also after a resize, so by layout nothing is looked up;
/// C's `free` and `realloc` cost one look-up. The feature `gwp-asan` of `snmalloc-sys` would break that and must not be
/// on: a sampled block has another size.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snmalloc;

// SAFETY: 1. the usable size depends on size and alignment alone, and snmalloc's look-up agrees with the formula.
// 2. Refusals are null pointers and this is C++ built without exceptions. 3. It calls nothing of ours.
unsafe impl Backend for Snmalloc {
    const NAME: &'static str = "snmalloc";

    /// The version of `snmalloc-sys` that this was written for: the library does not tell its own.
    fn version() -> Version {
        Version::new(b"0.7.6")
    }

    #[inline(always)]
    unsafe fn allocate(layout: Layout) -> Allocation {
        let (size, alignment) = (layout.size(), layout.align());
        // SAFETY: the caller's contract; a power of two.
        unsafe { allocation(sys::sn_rust_alloc(alignment, size), size, alignment) }
    }

    #[inline(always)]
    unsafe fn allocate_zeroed(layout: Layout) -> Allocation {
        let (size, alignment) = (layout.size(), layout.align());
        // SAFETY: the caller's contract; a power of two.
        unsafe { allocation(sys::sn_rust_alloc_zeroed(alignment, size), size, alignment) }
    }

    #[inline(always)]
    unsafe fn deallocate(ptr: *mut u8, layout: Layout) -> usize {
        // SAFETY: a live block of this size and alignment.
        unsafe { sys::sn_rust_dealloc(ptr.cast(), layout.align(), layout.size()) };
        usable(layout.size(), layout.align())
    }

    #[inline(always)]
    unsafe fn reallocate(ptr: *mut u8, layout: Layout, new_size: usize) -> Reallocation {
        let (size, alignment) = (layout.size(), layout.align());
        // SAFETY: a live block of this size and alignment, and then one of the new size.
        let new =
            unsafe { allocation(sys::sn_rust_realloc(ptr.cast(), alignment, size, new_size), new_size, alignment) };
        if new.ptr.is_null() {
            return Reallocation::REFUSED;
        }
        Reallocation { ptr: new.ptr, credited: usable(size, alignment), charged: new.charged }
    }

    #[inline(always)]
    unsafe fn malloc(size: usize) -> Allocation {
        // SAFETY: 1 is a power of two. Every size class is a multiple of `max_align_t`'s alignment.
        unsafe { Self::malloc_aligned(1, size) }
    }

    #[inline(always)]
    unsafe fn calloc(size: usize) -> Allocation {
        let size = size.max(1);
        // SAFETY: as in `malloc`.
        unsafe { allocation(sys::sn_rust_alloc_zeroed(1, size), size, 1) }
    }

    #[inline(always)]
    unsafe fn malloc_aligned(alignment: usize, size: usize) -> Allocation {
        let size = size.max(1);
        // SAFETY: a power of two.
        unsafe { allocation(sys::sn_rust_alloc(alignment, size), size, alignment) }
    }

    #[inline(always)]
    unsafe fn realloc(ptr: *mut u8, size: usize) -> Reallocation {
        // SAFETY: a live block; a usable size with alignment 1 names its size class as well as its first request did.
        unsafe { Self::reallocate(ptr, Layout::from_size_align_unchecked(Self::usable_size(ptr), 1), size) }
    }

    #[inline(always)]
    unsafe fn free(ptr: *mut u8) -> usize {
        // SAFETY: a live block, and a size of its class.
        unsafe {
            let size = Self::usable_size(ptr);
            sys::sn_rust_dealloc(ptr.cast(), 1, size);
            size
        }
    }

    #[inline(always)]
    unsafe fn usable_size(ptr: *const u8) -> usize {
        // SAFETY: a live block.
        unsafe { sys::sn_rust_usable_size(ptr.cast()) }
    }

    fn statistics() -> Statistics {
        let (mut current, mut peak) = (0, 0);
        // SAFETY: both figures are written to locals.
        unsafe { sys::sn_rust_statistics(&mut current, &mut peak) };
        // What its threads have taken from the pool of free pages, which snmalloc itself does not give back to the
        // kernel: with their metadata, and with the few chunks that each thread keeps at hand.
        Statistics { active: Some(current), ..Statistics::default() }
    }
}

/// # Safety
/// `ptr` is null or a block for this size, above 0, and alignment.
#[inline(always)]
unsafe fn allocation(ptr: *mut c_void, size: usize, alignment: usize) -> Allocation {
    if ptr.is_null() {
        return Allocation::REFUSED;
    }
    let charged = usable(size, alignment);
    // SAFETY: a live block.
    debug_assert_eq!(charged, unsafe { sys::sn_rust_usable_size(ptr) }, "{size} aligned to {alignment}");
    Allocation { ptr: ptr.cast(), charged }
}

/// Up to here four size classes to a doubling, beyond only the powers of two.
const SMALL_MAX: usize = 56 << 10;

/// The least distance of two size classes, and the smallest of them.
const STEP: usize = 2 * size_of::<usize>();

/// The usable size of a block of this size, above 0, and alignment.
#[inline(always)]
const fn usable(size: usize, alignment: usize) -> usize {
    // Offsets of last bytes: a rounding up sets their low bits.
    let last = (size - 1) | (alignment - 1);
    if last < SMALL_MAX {
        // What lies within a quarter of the doubling.
        let within = usize::MAX >> 3 >> (last | (4 * STEP)).leading_zeros();
        return (last | within) + 1;
    }
    match last.leading_zeros() {
        // No such block was ever given out.
        0 => 0,
        zeros => (usize::MAX >> zeros) + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agrees(size: usize, alignment: usize) {
        // SAFETY: a power of two; the block is freed once.
        unsafe {
            let ptr = sys::sn_rust_alloc(alignment, size);
            assert!(!ptr.is_null());
            let told = sys::sn_rust_usable_size(ptr);
            assert_eq!(usable(size, alignment), told, "{size} aligned to {alignment}");
            sys::sn_rust_dealloc(ptr, alignment, size);
        }
    }

    #[test]
    fn the_formula_is_snmallocs() {
        (1..=1 << 20).for_each(|size| agrees(size, 1));
        (1 << 20..1 << 26).step_by(99_991).for_each(|size| agrees(size, 1));
        for alignment in (1..=16).map(|log| 1usize << log) {
            (1..3000).chain((3000..1 << 18).step_by(769)).for_each(|size| agrees(size, alignment));
        }
    }

    #[test]
    fn a_class_is_its_own() {
        for size in (1..1 << 18).step_by(7) {
            assert_eq!(usable(usable(size, 1), 1), usable(size, 1));
        }
    }
}
