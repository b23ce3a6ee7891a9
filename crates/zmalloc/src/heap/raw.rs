//! The heap in C's shapes: `malloc` and its relatives, as Redis's zmalloc has them.
//!
//! Three families, told apart by name: the plain calls run the [OOM handler](super::set_oom_handler) when memory runs
//! out; the `try_` calls answer null; the `_usable` calls also tell the bytes that may really be used.

use super::Zmalloc;
use super::asked::Asked;
use super::counted::{self, Told, Untold};
use super::oom::out_of_memory;
use super::owned;
use crate::backend::Backend;
use crate::ledger::Detail;
use core::ffi::{CStr, c_char};
use core::ptr::null_mut;

/// From this size on a request is refused without asking the backend: sums with a header could overflow.
pub(super) const TOO_LARGE: usize = usize::MAX / 2;

/// What a request for 0 bytes gets, so that the answer is a block of its own.
const SMALLEST: usize = size_of::<usize>();

/// A block and the bytes that may be used of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsableBlock {
    /// The block, or null.
    pub ptr: *mut u8,
    /// The usable bytes, at least those requested; 0 if `ptr` is null.
    pub usable: usize,
}

impl<B: Backend, D: Detail> Zmalloc<B, D> {
    /// Allocates `size` bytes, aligned for any type. A size of 0 gives a block as well.
    ///
    /// If memory runs out, or `size` is half of the address space or more, the OOM handler runs, and null is the answer
    /// if it returns.
    #[inline]
    pub fn malloc(&self, size: usize) -> *mut u8 {
        or_out_of_memory(self.try_malloc(size), size)
    }

    /// As [`malloc`](Zmalloc::malloc), but answers null and does not run the handler.
    #[inline]
    pub fn try_malloc(&self, size: usize) -> *mut u8 {
        let Some(size) = in_range::<B>(size) else { return null_mut() };
        // SAFETY: no conditions.
        owned::allocation::<B, D, _>(Untold, Asked::plain(size), |_| unsafe { B::malloc(size) })
    }

    /// As [`malloc`](Zmalloc::malloc), filled with zeros; fresh pages stay untouched.
    #[inline]
    pub fn calloc(&self, size: usize) -> *mut u8 {
        or_out_of_memory(self.try_calloc(size), size)
    }

    /// As [`calloc`](Zmalloc::calloc), but answers null and does not run the handler.
    #[inline]
    pub fn try_calloc(&self, size: usize) -> *mut u8 {
        let Some(size) = in_range::<B>(size) else { return null_mut() };
        // SAFETY: no conditions.
        owned::allocation::<B, D, _>(Untold, Asked::plain(size), |_| unsafe { B::calloc(size) })
    }

    /// Allocates `count` elements of `size` bytes, filled with zeros. If the product overflows, the handler runs with
    /// `usize::MAX`.
    #[inline]
    pub fn calloc_array(&self, count: usize, size: usize) -> *mut u8 {
        match count.checked_mul(size) {
            Some(bytes) => self.calloc(bytes),
            None => or_out_of_memory(null_mut(), usize::MAX),
        }
    }

    /// As [`calloc_array`](Zmalloc::calloc_array), but answers null and does not run the handler.
    #[inline]
    pub fn try_calloc_array(&self, count: usize, size: usize) -> *mut u8 {
        count.checked_mul(size).map_or(null_mut(), |bytes| self.try_calloc(bytes))
    }

    /// Allocates `size` bytes aligned to `alignment`, or null, also if `alignment` is no power of two.
    #[inline]
    pub fn try_malloc_aligned(&self, alignment: usize, size: usize) -> *mut u8 {
        if size >= TOO_LARGE || !alignment.is_power_of_two() || alignment >= TOO_LARGE {
            return null_mut();
        }
        let size = size.max(SMALLEST);
        // SAFETY: a power of two.
        owned::allocation::<B, D, _>(Untold, Asked { size, alignment }, |_| unsafe {
            B::malloc_aligned(alignment, size)
        })
    }

    /// Resizes a block, perhaps moving it; its first bytes are kept.
    ///
    /// As zmalloc has it: null resizes from nothing (like [`malloc`](Zmalloc::malloc)). A `size` of 0 frees the block
    /// and answers null, without the handler. A `size` of half of the address space or more **frees the block**, and
    /// the handler runs. If memory runs out, the block stays as it was, and the handler runs.
    ///
    /// # Safety
    /// `ptr` is null or a live block of a heap over the same backend, and is not used again unless the answer is null
    /// for want of memory.
    #[inline]
    pub unsafe fn realloc(&self, ptr: *mut u8, size: usize) -> *mut u8 {
        // SAFETY: the caller's contract is the callee's.
        let block = unsafe { self.try_realloc(ptr, size) };
        if size == 0 && !ptr.is_null() {
            return block;
        }
        or_out_of_memory(block, size)
    }

    /// As [`realloc`](Zmalloc::realloc), but does not run the handler. Null then means one of three things, told apart
    /// by `size`: the block was freed (0, or half of the address space or more), or kept (any other size).
    ///
    /// # Safety
    /// As [`realloc`](Zmalloc::realloc).
    #[inline]
    pub unsafe fn try_realloc(&self, ptr: *mut u8, size: usize) -> *mut u8 {
        if ptr.is_null() {
            return self.try_malloc(size);
        }
        if size == 0 || size >= TOO_LARGE {
            // SAFETY: a live block, by the caller's contract.
            unsafe { self.free(ptr) };
            return null_mut();
        }
        // SAFETY: a live block and a size above 0.
        unsafe { owned::reallocation::<B, D, _>(Untold, Untold, Asked::plain(size), ptr, || B::realloc(ptr, size)) }
    }

    /// Frees a block; null is ignored.
    ///
    /// # Safety
    /// `ptr` is null or a live block of a heap over the same backend, and is not used again.
    #[inline]
    pub unsafe fn free(&self, ptr: *mut u8) {
        if B::HANDLES_CORNERS && !D::BY_OWNER && counted::is_counted_beneath::<B, D>() {
            // SAFETY: null or a live block, and the backend ignores null.
            unsafe { B::free(ptr) };
        } else if !ptr.is_null() {
            // SAFETY: a live block.
            unsafe { owned::free::<B, D, _>(Untold, ptr, || B::free(ptr)) };
        }
    }

    /// Frees a block and answers the bytes that could be used of it; 0 for null.
    ///
    /// # Safety
    /// As [`free`](Zmalloc::free).
    #[inline]
    pub unsafe fn free_usable(&self, ptr: *mut u8) -> usize {
        // SAFETY: the caller's contract is that of both callees.
        unsafe {
            let usable = self.usable_size(ptr);
            self.free_with_size(ptr, usable);
            usable
        }
    }

    /// Frees a block whose usable size the caller knows, so that nobody has to look it up; null is ignored.
    ///
    /// # Safety
    /// 1. As [`free`](Zmalloc::free). 2. `usable` is what [`usable_size`](Zmalloc::usable_size) says of the block;
    ///    another size may corrupt the backend and the ledger.
    #[inline]
    pub unsafe fn free_with_size(&self, ptr: *mut u8, usable: usize) {
        if ptr.is_null() {
            return;
        }
        // SAFETY: a live block, and its usable size.
        unsafe {
            if B::CHARGES_USABLE_SIZE {
                owned::free::<B, D, _>(Told(usable), ptr, || B::free_charged(ptr, usable));
            } else {
                owned::free::<B, D, _>(Untold, ptr, || B::free(ptr));
            }
        }
    }

    /// The bytes that may be used of a block: at least those requested; 0 for null.
    ///
    /// # Safety
    /// `ptr` is null or a live block of a heap over the same backend.
    #[inline]
    pub unsafe fn usable_size(&self, ptr: *const u8) -> usize {
        // SAFETY: a live block.
        if ptr.is_null() { 0 } else { unsafe { B::usable_size(ptr) } }
    }

    /// The bytes that the ledger holds for a block: its usable size, or over [`SizePrefix`](crate::backend::SizePrefix)
    /// header and size; 0 for null.
    ///
    /// # Safety
    /// As [`usable_size`](Zmalloc::usable_size).
    #[inline]
    pub unsafe fn charged_size(&self, ptr: *const u8) -> usize {
        // SAFETY: a live block.
        if ptr.is_null() { 0 } else { unsafe { B::charged_size(ptr) } }
    }

    /// As [`malloc`](Zmalloc::malloc), and tells the usable bytes.
    #[inline]
    pub fn malloc_usable(&self, size: usize) -> UsableBlock {
        usable::<B>(self.malloc(size))
    }

    /// As [`try_malloc`](Zmalloc::try_malloc), and tells the usable bytes.
    #[inline]
    pub fn try_malloc_usable(&self, size: usize) -> UsableBlock {
        usable::<B>(self.try_malloc(size))
    }

    /// As [`calloc`](Zmalloc::calloc), and tells the usable bytes.
    #[inline]
    pub fn calloc_usable(&self, size: usize) -> UsableBlock {
        usable::<B>(self.calloc(size))
    }

    /// As [`try_calloc`](Zmalloc::try_calloc), and tells the usable bytes.
    #[inline]
    pub fn try_calloc_usable(&self, size: usize) -> UsableBlock {
        usable::<B>(self.try_calloc(size))
    }

    /// As [`realloc`](Zmalloc::realloc), and tells the usable bytes.
    ///
    /// # Safety
    /// As [`realloc`](Zmalloc::realloc).
    #[inline]
    pub unsafe fn realloc_usable(&self, ptr: *mut u8, size: usize) -> UsableBlock {
        // SAFETY: the caller's contract is the callee's.
        usable::<B>(unsafe { self.realloc(ptr, size) })
    }

    /// As [`try_realloc`](Zmalloc::try_realloc), and tells the usable bytes.
    ///
    /// # Safety
    /// As [`realloc`](Zmalloc::realloc).
    #[inline]
    pub unsafe fn try_realloc_usable(&self, ptr: *mut u8, size: usize) -> UsableBlock {
        // SAFETY: the caller's contract is the callee's.
        usable::<B>(unsafe { self.try_realloc(ptr, size) })
    }

    /// A copy of a C string, end included.
    #[inline]
    pub fn strdup(&self, text: &CStr) -> *mut c_char {
        copy(self.malloc(text.count_bytes() + 1), text)
    }

    /// As [`strdup`](Zmalloc::strdup), but answers null and does not run the handler.
    #[inline]
    pub fn try_strdup(&self, text: &CStr) -> *mut c_char {
        copy(self.try_malloc(text.count_bytes() + 1), text)
    }

    /// As [`strdup`](Zmalloc::strdup), and tells the usable bytes.
    #[inline]
    pub fn strdup_usable(&self, text: &CStr) -> UsableBlock {
        usable::<B>(self.strdup(text).cast())
    }
}

/// A size that the backend may be asked for, or `None` for half of the address space and more.
#[inline(always)]
fn in_range<B: Backend>(size: usize) -> Option<usize> {
    if B::HANDLES_CORNERS {
        return Some(size);
    }
    (size < TOO_LARGE).then(|| size.max(SMALLEST))
}

#[inline(always)]
fn or_out_of_memory(block: *mut u8, size: usize) -> *mut u8 {
    if block.is_null() {
        out_of_memory(size);
    }
    block
}

#[inline(always)]
fn usable<B: Backend>(ptr: *mut u8) -> UsableBlock {
    // SAFETY: a block that was just allocated.
    UsableBlock { ptr, usable: if ptr.is_null() { 0 } else { unsafe { B::usable_size(ptr) } } }
}

#[inline(always)]
fn copy(block: *mut u8, text: &CStr) -> *mut c_char {
    if !block.is_null() {
        let bytes = text.to_bytes_with_nul();
        // SAFETY: a new block of at least that many bytes, which overlaps nothing.
        unsafe { block.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }
    block.cast()
}
