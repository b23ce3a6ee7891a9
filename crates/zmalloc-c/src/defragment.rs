//! Blocks that would better lie elsewhere.

use core::ffi::{c_int, c_void};

/// # Safety
/// `ptr` is a live block.
#[cfg(feature = "jemalloc")]
unsafe fn is_in_sparse_slab(ptr: *mut c_void) -> bool {
    // SAFETY: the caller's contract is the callee's.
    unsafe { zmalloc::backend::Jemalloc::is_in_sparse_slab(ptr.cast()) }
}

/// # Safety
/// `ptr` is a live block.
#[cfg(feature = "jemalloc")]
unsafe fn relocate(ptr: *mut c_void) -> *mut c_void {
    // SAFETY: the caller's contract is the callee's.
    unsafe { crate::HEAP.relocate(ptr.cast()).cast() }
}

/// Only jemalloc tells.
#[cfg(not(feature = "jemalloc"))]
unsafe fn is_in_sparse_slab(_: *mut c_void) -> bool {
    false
}

#[cfg(not(feature = "jemalloc"))]
unsafe fn relocate(_: *mut c_void) -> *mut c_void {
    core::ptr::null_mut()
}

#[unsafe(export_name = symbol!("zmalloc_get_defrag_hint"))]
pub unsafe extern "C" fn zmalloc_get_defrag_hint(ptr: *mut c_void) -> c_int {
    // SAFETY: a live block, by the caller's contract.
    (!ptr.is_null() && unsafe { is_in_sparse_slab(ptr) }).into()
}

#[unsafe(export_name = symbol!("zmalloc_relocate"))]
pub unsafe extern "C" fn zmalloc_relocate(ptr: *mut c_void) -> *mut c_void {
    // SAFETY: a live block, by the caller's contract.
    if ptr.is_null() { ptr } else { unsafe { relocate(ptr) } }
}
