//! The C library's own heap, beside this one.

use core::ffi::c_void;

#[unsafe(export_name = symbol!("zlibc_free"))]
pub unsafe extern "C" fn zlibc_free(ptr: *mut c_void) {
    // SAFETY: null or a block of C's malloc, by the caller's contract.
    unsafe { libc::free(ptr) }
}

#[unsafe(export_name = symbol!("zlibc_trim"))]
pub extern "C" fn zlibc_trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no conditions.
    unsafe {
        libc::malloc_trim(0);
    }
}
