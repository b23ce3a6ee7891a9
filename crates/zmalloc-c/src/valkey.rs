//! The four names that Valkey gave the calls which zlib has too.

use core::ffi::c_void;

#[unsafe(export_name = symbol!("valkey_malloc"))]
pub extern "C" fn valkey_malloc(size: usize) -> *mut c_void {
    crate::allocate::zmalloc(size)
}

#[unsafe(export_name = symbol!("valkey_calloc"))]
pub extern "C" fn valkey_calloc(size: usize) -> *mut c_void {
    crate::allocate::zcalloc(size)
}

#[unsafe(export_name = symbol!("valkey_realloc"))]
pub unsafe extern "C" fn valkey_realloc(ptr: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the caller's contract is the callee's.
    unsafe { crate::resize::zrealloc(ptr, size) }
}

#[unsafe(export_name = symbol!("valkey_free"))]
pub unsafe extern "C" fn valkey_free(ptr: *mut c_void) {
    // SAFETY: the caller's contract is the callee's.
    unsafe { crate::free::zfree(ptr) }
}
