//! Blocks taken back.

use crate::HEAP;
use core::ffi::c_void;

#[unsafe(export_name = symbol!("zfree"))]
pub unsafe extern "C" fn zfree(ptr: *mut c_void) {
    // SAFETY: the caller's contract is the callee's.
    unsafe { HEAP.free(ptr.cast()) }
}

#[unsafe(export_name = symbol!("zfree_with_size"))]
pub unsafe extern "C" fn zfree_with_size(ptr: *mut c_void, usable: usize) {
    // SAFETY: the caller's contract is the callee's.
    unsafe { HEAP.free_with_size(ptr.cast(), usable) }
}

#[unsafe(export_name = symbol!("zfree_usable"))]
pub unsafe extern "C" fn zfree_usable(ptr: *mut c_void, usable: *mut usize) {
    // SAFETY: the caller's contract is the callee's; `usable` is null or writable.
    unsafe {
        let freed = HEAP.free_usable(ptr.cast());
        if !usable.is_null() {
            usable.write(freed);
        }
    }
}
