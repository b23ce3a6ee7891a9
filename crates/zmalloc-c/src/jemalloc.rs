//! jemalloc's own interface under the names that Redis builds it with, for programs that call it beside the layer.
//!
//! Those that give blocks out or take them back count them as the layer's calls do, so that a block may come from the
//! one and go to the other.

use crate::HEAP;
use core::ffi::{c_char, c_int, c_void};
use core::ptr::null_mut;
use tikv_jemalloc_sys as sys;
use zmalloc::heap::Flags;

#[unsafe(export_name = symbol!("je_malloc"))]
pub extern "C" fn je_malloc(size: usize) -> *mut c_void {
    or_errno(HEAP.try_malloc(size))
}

#[unsafe(export_name = symbol!("je_calloc"))]
pub extern "C" fn je_calloc(count: usize, size: usize) -> *mut c_void {
    or_errno(HEAP.try_calloc_array(count, size))
}

#[unsafe(export_name = symbol!("je_posix_memalign"))]
pub unsafe extern "C" fn je_posix_memalign(place: *mut *mut c_void, alignment: usize, size: usize) -> c_int {
    if !alignment.is_power_of_two() || alignment < size_of::<*mut c_void>() {
        return libc::EINVAL;
    }
    let block = HEAP.try_malloc_aligned(alignment, size);
    if block.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: writable, by the caller's contract.
    unsafe { place.write(block.cast()) };
    0
}

#[unsafe(export_name = symbol!("je_aligned_alloc"))]
pub extern "C" fn je_aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
    or_errno(HEAP.try_malloc_aligned(alignment, size))
}

/// C's `realloc`: unlike the layer's, too large a size leaves the block as it is.
#[unsafe(export_name = symbol!("je_realloc"))]
pub unsafe extern "C" fn je_realloc(ptr: *mut c_void, size: usize) -> *mut c_void {
    if !ptr.is_null() && size >= TOO_LARGE {
        return or_errno(null_mut());
    }
    // SAFETY: the caller's contract is the callee's.
    let block = unsafe { HEAP.try_realloc(ptr.cast(), size) };
    if size == 0 && !ptr.is_null() { block.cast() } else { or_errno(block) }
}

#[unsafe(export_name = symbol!("je_free"))]
pub unsafe extern "C" fn je_free(ptr: *mut c_void) {
    // SAFETY: the caller's contract is the callee's.
    unsafe { HEAP.free(ptr.cast()) }
}

#[unsafe(export_name = symbol!("je_mallocx"))]
pub extern "C" fn je_mallocx(size: usize, flags: c_int) -> *mut c_void {
    HEAP.try_malloc_with_flags(size, Flags(flags)).cast()
}

#[unsafe(export_name = symbol!("je_rallocx"))]
pub unsafe extern "C" fn je_rallocx(ptr: *mut c_void, size: usize, flags: c_int) -> *mut c_void {
    if size >= TOO_LARGE {
        return null_mut();
    }
    // SAFETY: the caller's contract is the callee's.
    unsafe { HEAP.try_realloc_with_flags(ptr.cast(), size.max(1), Flags(flags)).cast() }
}

#[unsafe(export_name = symbol!("je_xallocx"))]
pub unsafe extern "C" fn je_xallocx(ptr: *mut c_void, size: usize, extra: usize, flags: c_int) -> usize {
    // SAFETY: the caller's contract is the callee's.
    unsafe { HEAP.resize_in_place(ptr.cast(), size, extra, Flags(flags)) }
}

#[unsafe(export_name = symbol!("je_sallocx"))]
pub unsafe extern "C" fn je_sallocx(ptr: *const c_void, flags: c_int) -> usize {
    // SAFETY: the caller's contract is the callee's.
    unsafe { sys::sallocx(ptr, flags) }
}

#[unsafe(export_name = symbol!("je_dallocx"))]
pub unsafe extern "C" fn je_dallocx(ptr: *mut c_void, flags: c_int) {
    // SAFETY: the caller's contract is the callee's.
    unsafe { HEAP.free_with_flags(ptr.cast(), Flags(flags)) }
}

/// The size may be any that the block was asked for with: its usable size is looked up.
#[unsafe(export_name = symbol!("je_sdallocx"))]
pub unsafe extern "C" fn je_sdallocx(ptr: *mut c_void, _size: usize, flags: c_int) {
    // SAFETY: the caller's contract is the callee's.
    unsafe { HEAP.free_with_flags(ptr.cast(), Flags(flags)) }
}

#[unsafe(export_name = symbol!("je_nallocx"))]
pub unsafe extern "C" fn je_nallocx(size: usize, flags: c_int) -> usize {
    // SAFETY: the caller's contract is the callee's.
    unsafe { sys::nallocx(size, flags) }
}

#[unsafe(export_name = symbol!("je_malloc_usable_size"))]
pub unsafe extern "C" fn je_malloc_usable_size(ptr: *const c_void) -> usize {
    // SAFETY: the caller's contract is the callee's.
    unsafe { sys::malloc_usable_size(ptr) }
}

#[unsafe(export_name = symbol!("je_mallctl"))]
pub unsafe extern "C" fn je_mallctl(
    name: *const c_char,
    old: *mut c_void,
    old_length: *mut usize,
    new: *mut c_void,
    new_length: usize,
) -> c_int {
    // SAFETY: the caller's contract is the callee's.
    unsafe { sys::mallctl(name, old, old_length, new, new_length) }
}

#[unsafe(export_name = symbol!("je_mallctlnametomib"))]
pub unsafe extern "C" fn je_mallctlnametomib(name: *const c_char, place: *mut usize, parts: *mut usize) -> c_int {
    // SAFETY: the caller's contract is the callee's.
    unsafe { sys::mallctlnametomib(name, place, parts) }
}

#[unsafe(export_name = symbol!("je_mallctlbymib"))]
pub unsafe extern "C" fn je_mallctlbymib(
    place: *const usize,
    parts: usize,
    old: *mut c_void,
    old_length: *mut usize,
    new: *mut c_void,
    new_length: usize,
) -> c_int {
    // SAFETY: the caller's contract is the callee's.
    unsafe { sys::mallctlbymib(place, parts, old, old_length, new, new_length) }
}

#[unsafe(export_name = symbol!("je_malloc_stats_print"))]
pub unsafe extern "C" fn je_malloc_stats_print(
    write: Option<unsafe extern "C" fn(*mut c_void, *const c_char)>,
    opaque: *mut c_void,
    options: *const c_char,
) {
    // SAFETY: the caller's contract is the callee's.
    unsafe { sys::malloc_stats_print(write, opaque, options) }
}

/// The question of Redis's patched jemalloc, answered by the unpatched one.
#[unsafe(export_name = symbol!("je_get_defrag_hint"))]
pub unsafe extern "C" fn je_get_defrag_hint(ptr: *mut c_void) -> c_int {
    // SAFETY: the caller's contract is the callee's.
    unsafe { crate::defragment::zmalloc_get_defrag_hint(ptr) }
}

/// The layer frees a block that is resized to so much; C leaves it.
const TOO_LARGE: usize = usize::MAX / 2;

/// C's way to say that memory ran out.
#[inline(always)]
fn or_errno(block: *mut u8) -> *mut c_void {
    if block.is_null() {
        set_errno();
    }
    block.cast()
}

#[cold]
fn set_errno() {
    // SAFETY: the calling thread's own errno.
    #[cfg(target_os = "linux")]
    unsafe {
        *libc::__errno_location() = libc::ENOMEM;
    }
}
