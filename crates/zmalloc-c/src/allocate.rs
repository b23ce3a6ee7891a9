//! Blocks given out.

use crate::HEAP;
use core::ffi::{CStr, c_char, c_void};
use zmalloc::UsableBlock;

/// Writes the usable bytes where the caller wants them, if anywhere, and answers the block.
///
/// # Safety
/// `usable` is null or writable.
#[inline(always)]
pub(crate) unsafe fn tell(block: UsableBlock, usable: *mut usize) -> *mut c_void {
    if !usable.is_null() {
        // SAFETY: writable, by the caller's contract.
        unsafe { usable.write(block.usable) };
    }
    block.ptr.cast()
}

#[unsafe(export_name = symbol!("zmalloc"))]
pub extern "C" fn zmalloc(size: usize) -> *mut c_void {
    HEAP.malloc(size).cast()
}

#[unsafe(export_name = symbol!("ztrymalloc"))]
pub extern "C" fn ztrymalloc(size: usize) -> *mut c_void {
    HEAP.try_malloc(size).cast()
}

#[unsafe(export_name = symbol!("zcalloc"))]
pub extern "C" fn zcalloc(size: usize) -> *mut c_void {
    HEAP.calloc(size).cast()
}

#[unsafe(export_name = symbol!("ztrycalloc"))]
pub extern "C" fn ztrycalloc(size: usize) -> *mut c_void {
    HEAP.try_calloc(size).cast()
}

#[unsafe(export_name = symbol!("zcalloc_num"))]
pub extern "C" fn zcalloc_num(count: usize, size: usize) -> *mut c_void {
    HEAP.calloc_array(count, size).cast()
}

#[unsafe(export_name = symbol!("ztrycalloc_num"))]
pub extern "C" fn ztrycalloc_num(count: usize, size: usize) -> *mut c_void {
    HEAP.try_calloc_array(count, size).cast()
}

#[unsafe(export_name = symbol!("zmalloc_usable"))]
pub unsafe extern "C" fn zmalloc_usable(size: usize, usable: *mut usize) -> *mut c_void {
    // SAFETY: the caller's contract is the callee's.
    unsafe { tell(HEAP.malloc_usable(size), usable) }
}

#[unsafe(export_name = symbol!("ztrymalloc_usable"))]
pub unsafe extern "C" fn ztrymalloc_usable(size: usize, usable: *mut usize) -> *mut c_void {
    // SAFETY: the caller's contract is the callee's.
    unsafe { tell(HEAP.try_malloc_usable(size), usable) }
}

#[unsafe(export_name = symbol!("zcalloc_usable"))]
pub unsafe extern "C" fn zcalloc_usable(size: usize, usable: *mut usize) -> *mut c_void {
    // SAFETY: the caller's contract is the callee's.
    unsafe { tell(HEAP.calloc_usable(size), usable) }
}

#[unsafe(export_name = symbol!("ztrycalloc_usable"))]
pub unsafe extern "C" fn ztrycalloc_usable(size: usize, usable: *mut usize) -> *mut c_void {
    // SAFETY: the caller's contract is the callee's.
    unsafe { tell(HEAP.try_calloc_usable(size), usable) }
}

#[unsafe(export_name = symbol!("zstrdup"))]
pub unsafe extern "C" fn zstrdup(text: *const c_char) -> *mut c_char {
    // SAFETY: a string that ends with 0, by the caller's contract.
    HEAP.strdup(unsafe { CStr::from_ptr(text) })
}

#[unsafe(export_name = symbol!("ztrystrdup"))]
pub unsafe extern "C" fn ztrystrdup(text: *const c_char) -> *mut c_char {
    // SAFETY: a string that ends with 0, by the caller's contract.
    HEAP.try_strdup(unsafe { CStr::from_ptr(text) })
}

#[unsafe(export_name = symbol!("zstrdup_usable"))]
pub unsafe extern "C" fn zstrdup_usable(text: *const c_char, usable: *mut usize) -> *mut c_char {
    // SAFETY: a string that ends with 0, and the contract of `tell`.
    unsafe { tell(HEAP.strdup_usable(CStr::from_ptr(text)), usable).cast() }
}
