//! jemalloc's extended calls, counted: blocks with flags, and blocks moved out of sparse slabs.

use super::Zmalloc;
use super::asked::Asked;
use super::counted::Shape;
use super::oom::out_of_memory;
use super::owned;
use crate::backend::{Backend, Jemalloc};
use crate::ledger::Detail;
use core::cell::Cell;
use core::ffi::c_int;
use core::ptr::null_mut;
use tikv_jemalloc_sys as sys;

/// Flags of jemalloc's extended calls, as its manual describes them: alignment, zeros, thread cache, arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub c_int);

impl Flags {
    /// Past the thread's cache, from and to the slabs: `MALLOCX_TCACHE_NONE`.
    pub const UNCACHED: Flags = Flags(sys::MALLOCX_TCACHE_NONE);
    /// Filled with zeros: `MALLOCX_ZERO`.
    pub const ZERO: Flags = Flags(sys::MALLOCX_ZERO);
}

impl core::ops::BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

#[inline(always)]
fn asked(size: usize, flags: Flags) -> Asked {
    // The lowest bits of the flags are the logarithm of the alignment.
    Asked { size, alignment: 1usize.checked_shl(flags.0 as u32 & 0x3f).unwrap_or(1) }
}

impl Shape<Jemalloc> for Flags {
    #[inline(always)]
    unsafe fn charged(self, ptr: *const u8) -> usize {
        // SAFETY: the caller's contract is the callee's.
        unsafe { Jemalloc::charged_size(ptr) }
    }

    #[inline(always)]
    unsafe fn charged_at_hand(self, ptr: *const u8) -> Option<usize> {
        // SAFETY: the caller's contract is the callee's.
        Some(unsafe { Jemalloc::charged_size(ptr) })
    }

    #[inline(always)]
    fn requested(self, charged: usize) -> usize {
        charged
    }

    #[inline(always)]
    unsafe fn free(self, ptr: *mut u8, _: usize) {
        // SAFETY: a live block.
        unsafe { sys::dallocx(ptr.cast(), self.0) }
    }
}

impl<D: Detail> Zmalloc<Jemalloc, D> {
    /// As [`malloc`](Zmalloc::malloc), with flags.
    #[inline]
    pub fn malloc_with_flags(&self, size: usize, flags: Flags) -> *mut u8 {
        let block = self.try_malloc_with_flags(size, flags);
        if block.is_null() {
            out_of_memory(size);
        }
        block
    }

    /// As [`malloc_with_flags`](Zmalloc::malloc_with_flags), but answers null and does not run the handler.
    #[inline]
    pub fn try_malloc_with_flags(&self, size: usize, flags: Flags) -> *mut u8 {
        // SAFETY: a size above 0.
        owned::allocation::<Jemalloc, D, _>(flags, asked(size, flags), |flags| unsafe {
            sys::mallocx(size.max(1), flags.0).cast()
        })
    }

    /// As [`realloc`](Zmalloc::realloc), with flags.
    ///
    /// # Safety
    /// As [`realloc`](Zmalloc::realloc).
    #[inline]
    pub unsafe fn realloc_with_flags(&self, ptr: *mut u8, size: usize, flags: Flags) -> *mut u8 {
        // SAFETY: the caller's contract is the callee's.
        let block = unsafe { self.try_realloc_with_flags(ptr, size, flags) };
        if block.is_null() && (size != 0 || ptr.is_null()) {
            out_of_memory(size);
        }
        block
    }

    /// As [`try_realloc`](Zmalloc::try_realloc), with flags.
    ///
    /// # Safety
    /// As [`realloc`](Zmalloc::realloc).
    #[inline]
    pub unsafe fn try_realloc_with_flags(&self, ptr: *mut u8, size: usize, flags: Flags) -> *mut u8 {
        if ptr.is_null() {
            return self.try_malloc_with_flags(size, flags);
        }
        // SAFETY: a live block, and for a resize a size above 0.
        unsafe {
            if size == 0 || size >= super::raw::TOO_LARGE {
                self.free_with_flags(ptr, flags);
                return null_mut();
            }
            owned::reallocation::<Jemalloc, D, _>(flags, flags, asked(size, flags), ptr, || {
                sys::rallocx(ptr.cast(), size, flags.0).cast()
            })
        }
    }

    /// Resizes a block where it lies, to `size` bytes or up to `extra` more, if there is room; answers its usable size
    /// then.
    ///
    /// # Safety
    /// 1. `ptr` is a live block. 2. `size` is above 0 and `size + extra` does not overflow.
    #[inline]
    pub unsafe fn resize_in_place(&self, ptr: *mut u8, size: usize, extra: usize, flags: Flags) -> usize {
        let usable = Cell::new(0);
        // SAFETY: the caller's contract is the callee's; the block stays where it is.
        unsafe {
            owned::reallocation::<Jemalloc, D, _>(flags, flags, asked(size + extra, flags), ptr, || {
                usable.set(sys::xallocx(ptr.cast(), size, extra, flags.0));
                ptr
            });
            match usable.get() {
                // Refused by a limit, without asking jemalloc.
                0 if extra > 0 => self.resize_in_place(ptr, size, 0, flags),
                0 => self.usable_size(ptr),
                usable => usable,
            }
        }
    }

    /// As [`free`](Zmalloc::free), with flags.
    ///
    /// # Safety
    /// As [`free`](Zmalloc::free).
    #[inline]
    pub unsafe fn free_with_flags(&self, ptr: *mut u8, flags: Flags) {
        if !ptr.is_null() {
            // SAFETY: a live block.
            unsafe { owned::free::<Jemalloc, D, _>(flags, ptr, || sys::dallocx(ptr.cast(), flags.0)) };
        }
    }

    /// Moves a block if that is likely to help to free a slab: answers its new place, or null if it stays where it is.
    ///
    /// The step of active defragmentation: call it for each block that the program can find the pointers to, and
    /// replace them. All usable bytes are copied. Cost: [`Jemalloc::is_in_sparse_slab`], and for a block that moves
    /// an allocation, a copy and a free past the thread's cache.
    ///
    /// # Safety
    /// `ptr` is a live block, not aligned to more than `malloc` does, and is not used again unless the answer is null.
    pub unsafe fn relocate(&self, ptr: *mut u8) -> *mut u8 {
        // SAFETY: a live block; the new one is another one and as large.
        unsafe {
            if !Jemalloc::is_in_sparse_slab(ptr) {
                return null_mut();
            }
            let usable = self.usable_size(ptr);
            let moved = self.try_malloc_with_flags(usable, Flags::UNCACHED);
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(ptr, usable);
                self.free_with_flags(ptr, Flags::UNCACHED);
            }
            moved
        }
    }
}
