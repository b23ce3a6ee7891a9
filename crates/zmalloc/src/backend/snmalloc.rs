//! snmalloc, whose size classes are a formula.

use super::{Backend, Statistics, Version};
use core::alloc::Layout;
use snmalloc_sys as sys;

/// snmalloc 0.7, bundled by `snmalloc-sys`.
///
/// A block's usable size follows from size and alignment alone, also after a resize, so by layout nothing is looked up;
/// C's `free` and `realloc` cost one look-up. The feature `gwp-asan` of `snmalloc-sys` would break that and must not be
/// on: a sampled block has another size.
///
/// snmalloc has no handlers for forks: a lock that another thread has at a fork stays locked for good in the child, which
/// must not allocate then.
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
    unsafe fn allocate(layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract; 1 is a power of two.
        unsafe { sys::sn_rust_alloc(1, aligned_size(layout)).cast() }
    }

    #[inline(always)]
    unsafe fn allocate_zeroed(layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract; a power of two.
        unsafe { sys::sn_rust_alloc_zeroed(layout.align(), layout.size()).cast() }
    }

    #[inline(always)]
    unsafe fn deallocate(ptr: *mut u8, layout: Layout) {
        // SAFETY: a live block of this size.
        unsafe { sys::sn_rust_dealloc(ptr.cast(), 1, aligned_size(layout)) };
    }

    #[inline(always)]
    unsafe fn reallocate(ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: a live block of this size and alignment.
        unsafe { sys::sn_rust_realloc(ptr.cast(), layout.align(), layout.size(), new_size).cast() }
    }

    #[inline(always)]
    unsafe fn malloc(size: usize) -> *mut u8 {
        // SAFETY: 1 is a power of two. Every size class is a multiple of `max_align_t`'s alignment.
        unsafe { Self::malloc_aligned(1, size) }
    }

    #[inline(always)]
    unsafe fn calloc(size: usize) -> *mut u8 {
        // SAFETY: as in `malloc`.
        unsafe { sys::sn_rust_alloc_zeroed(1, size.max(1)).cast() }
    }

    #[inline(always)]
    unsafe fn malloc_aligned(alignment: usize, size: usize) -> *mut u8 {
        // SAFETY: a power of two.
        unsafe { sys::sn_rust_alloc(alignment, size.max(1)).cast() }
    }

    #[inline(always)]
    unsafe fn realloc(ptr: *mut u8, size: usize) -> *mut u8 {
        // SAFETY: a live block; a usable size with alignment 1 names its size class as well as its first request did.
        unsafe { sys::sn_rust_realloc(ptr.cast(), 1, Self::usable_size(ptr), size).cast() }
    }

    #[inline(always)]
    unsafe fn free(ptr: *mut u8) {
        // SAFETY: a live block, and its usable size.
        unsafe { Self::free_charged(ptr, Self::usable_size(ptr)) }
    }

    #[inline(always)]
    unsafe fn free_charged(ptr: *mut u8, charged: usize) {
        // SAFETY: a live block; its usable size with alignment 1 names its size class.
        unsafe { sys::sn_rust_dealloc(ptr.cast(), 1, charged) };
    }

    #[inline(always)]
    unsafe fn usable_size(ptr: *const u8) -> usize {
        // SAFETY: a live block.
        unsafe { sys::sn_rust_usable_size(ptr.cast()) }
    }

    #[inline(always)]
    unsafe fn charged_size_of(ptr: *const u8, layout: Layout) -> usize {
        let usable = small(layout).unwrap_or_else(|| large_or_aligned(layout));
        // SAFETY: a live block.
        debug_assert_eq!(usable, unsafe { Self::usable_size(ptr) }, "{layout:?}");
        usable
    }

    #[inline(always)]
    unsafe fn charged_at_hand(ptr: *const u8, layout: Layout) -> Option<usize> {
        let usable = small(layout)?;
        // SAFETY: a live block.
        debug_assert_eq!(usable, unsafe { Self::usable_size(ptr) });
        Some(usable)
    }

    fn charge_at_most(size: usize, alignment: usize) -> usize {
        Layout::from_size_align(size.max(1), alignment).map_or(0, |layout| usable(aligned_size(layout)))
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

/// Up to here four size classes to a doubling, beyond only the powers of two.
const SMALL_MAX: usize = 56 << 10;

/// The least distance of two size classes, and the smallest of them.
const STEP: usize = 2 * size_of::<usize>();

/// The usable size of a block, if it is small and needs no more than the least alignment.
#[inline(always)]
fn small(layout: Layout) -> Option<usize> {
    if layout.align() > STEP {
        return None;
    }
    SMALL.get((layout.size() - 1) / STEP).map(|&usable| usable.into())
}

/// The usable sizes of small blocks: a look-up takes fewer instructions than the formula.
static SMALL: [u16; 8192 / STEP] = {
    let mut sizes = [0; 8192 / STEP];
    let mut place = 0;
    while place < sizes.len() {
        sizes[place] = usable((place + 1) * STEP) as u16;
        place += 1;
    }
    sizes
};

/// The usable size of a block that is not in the table, or may not be.
#[cold]
#[inline(never)]
fn large_or_aligned(layout: Layout) -> usize {
    usable(aligned_size(layout))
}

/// What snmalloc makes of a layout first: its size, rounded up to its alignment. Every size class is aligned as far as
/// its size allows, so nothing else is told of the alignment.
#[inline(always)]
fn aligned_size(layout: Layout) -> usize {
    // Every size class is a multiple of this, so that the usual layout needs no rounding.
    if layout.align() <= STEP {
        return layout.size();
    }
    ((layout.size() - 1) | (layout.align() - 1)) + 1
}

/// The usable size of a block of this size, which is above 0 and fits `isize` or is its overflow by one.
#[inline(always)]
const fn usable(size: usize) -> usize {
    // The offset of the last byte: a rounding up sets its low bits.
    let last = size - 1;
    if last < SMALL_MAX {
        // What lies within a quarter of the doubling.
        let within = usize::MAX >> 3 >> (last | (4 * STEP)).leading_zeros();
        return (last | within) + 1;
    }
    (usize::MAX >> last.leading_zeros()) + 1
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
            assert_eq!(
                usable(aligned_size(Layout::from_size_align(size, alignment).unwrap())),
                told,
                "{size} aligned to {alignment}"
            );
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
            assert_eq!(usable(usable(size)), usable(size));
        }
    }
}
