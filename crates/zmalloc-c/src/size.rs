//! How large blocks are.

use crate::HEAP;
use core::ffi::c_void;

#[unsafe(export_name = symbol!("zmalloc_size"))]
pub unsafe extern "C" fn zmalloc_size(ptr: *mut c_void) -> usize {
    // SAFETY: the caller's contract is the callee's.
    unsafe { HEAP.charged_size(ptr.cast()) }
}

#[unsafe(export_name = symbol!("zmalloc_usable_size"))]
pub unsafe extern "C" fn zmalloc_usable_size(ptr: *mut c_void) -> usize {
    // SAFETY: the caller's contract is the callee's.
    unsafe { HEAP.usable_size(ptr.cast()) }
}

#[inline(never)]
#[unsafe(export_name = symbol!("extend_to_usable"))]
pub extern "C" fn extend_to_usable(ptr: *mut c_void, _size: usize) -> *mut c_void {
    ptr
}
