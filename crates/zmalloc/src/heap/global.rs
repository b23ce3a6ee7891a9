//! The heap as Rust's allocator.

use super::asked::Asked;
use super::{Zmalloc, owned};
use crate::backend::Backend;
use crate::ledger::Detail;
use core::alloc::{GlobalAlloc, Layout};

// SAFETY: every block comes from and goes back to one backend, which follows these rules by its own promise; counting
// touches no block, never unwinds and never allocates through this heap.
unsafe impl<B: Backend, D: Detail> GlobalAlloc for Zmalloc<B, D> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller gives a layout with a size above 0.
        owned::allocation::<B, D, _>(layout, Asked::of(layout), |layout| unsafe { B::allocate(layout) })
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller gives a layout with a size above 0.
        owned::allocation::<B, D, _>(layout, Asked::of(layout), |layout| unsafe { B::allocate_zeroed(layout) })
    }

    #[inline]
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller gives a live block of this heap and its layout.
        unsafe { owned::free::<B, D, _>(layout, ptr, || B::deallocate(ptr, layout)) };
    }

    #[inline]
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller gives a live block of this heap, its layout, and a size that fits.
        unsafe {
            let resized = Layout::from_size_align_unchecked(new_size, layout.align());
            owned::reallocation::<B, D, _>(layout, resized, Asked::of(resized), ptr, || {
                B::reallocate(ptr, layout, new_size)
            })
        }
    }
}
