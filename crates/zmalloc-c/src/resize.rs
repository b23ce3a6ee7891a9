//! Blocks resized.

use crate::HEAP;
use crate::allocate::tell;
use core::ffi::c_void;

/// The usable size of a block, told to the caller if it wants it; 0 for null.
///
/// # Safety
/// `ptr` is null or a live block, `usable` null or writable.
unsafe fn tell_before(ptr: *mut c_void, usable: *mut usize) {
    if !usable.is_null() {
        // SAFETY: a live block or null; writable.
        unsafe { usable.write(HEAP.usable_size(ptr.cast())) };
    }
}

#[unsafe(export_name = symbol!("zrealloc"))]
pub unsafe extern "C" fn zrealloc(ptr: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the caller's contract is the callee's.
    unsafe { HEAP.realloc(ptr.cast(), size).cast() }
}

#[unsafe(export_name = symbol!("ztryrealloc"))]
pub unsafe extern "C" fn ztryrealloc(ptr: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the caller's contract is the callee's.
    unsafe { HEAP.try_realloc(ptr.cast(), size).cast() }
}

#[unsafe(export_name = symbol!("zrealloc_usable"))]
pub unsafe extern "C" fn zrealloc_usable(ptr: *mut c_void, size: usize, usable: *mut usize) -> *mut c_void {
    // SAFETY: the caller's contract is the callees'.
    unsafe { tell(HEAP.realloc_usable(ptr.cast(), size), usable) }
}

#[unsafe(export_name = symbol!("ztryrealloc_usable"))]
pub unsafe extern "C" fn ztryrealloc_usable(ptr: *mut c_void, size: usize, usable: *mut usize) -> *mut c_void {
    // SAFETY: the caller's contract is the callees'.
    unsafe { tell(HEAP.try_realloc_usable(ptr.cast(), size), usable) }
}

#[unsafe(export_name = symbol!("zrealloc_usable2"))]
pub unsafe extern "C" fn zrealloc_usable2(
    ptr: *mut c_void,
    size: usize,
    usable: *mut usize,
    usable_before: *mut usize,
) -> *mut c_void {
    // SAFETY: the caller's contract is the callees'.
    unsafe {
        tell_before(ptr, usable_before);
        zrealloc_usable(ptr, size, usable)
    }
}

#[unsafe(export_name = symbol!("ztryrealloc_usable2"))]
pub unsafe extern "C" fn ztryrealloc_usable2(
    ptr: *mut c_void,
    size: usize,
    usable: *mut usize,
    usable_before: *mut usize,
) -> *mut c_void {
    // SAFETY: the caller's contract is the callees'.
    unsafe {
        tell_before(ptr, usable_before);
        ztryrealloc_usable(ptr, size, usable)
    }
}
