//! Functions of the family that an allocator may lack, built from those it has, as glibc's behave.

use crate::errno::{self, KeepErrno};
use core::ffi::{c_int, c_void};
use core::ptr::null_mut;

/// An allocator's way to a block of any power of two as alignment; null if it has no memory.
type Aligned<'a> = &'a dyn Fn(usize, usize) -> *mut c_void;

pub(super) unsafe fn posix_memalign(out: *mut *mut c_void, alignment: usize, size: usize, aligned: Aligned) -> c_int {
    if !alignment.is_power_of_two() || !alignment.is_multiple_of(size_of::<*mut c_void>()) {
        return libc::EINVAL;
    }
    let _errno = KeepErrno::new();
    let block = aligned(alignment, size);
    if block.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the program's pointer, which by the C contract is writable.
    unsafe { *out = block };
    0
}

pub(super) fn aligned_alloc(alignment: usize, size: usize, aligned: Aligned) -> *mut c_void {
    if alignment.is_power_of_two() { aligned(alignment, size) } else { refused(libc::EINVAL) }
}

/// An alignment that is no power of two is rounded up to one.
pub(super) fn memalign(alignment: usize, size: usize, aligned: Aligned) -> *mut c_void {
    match alignment.checked_next_power_of_two() {
        Some(alignment) => aligned(alignment, size),
        None => refused(libc::EINVAL),
    }
}

pub(super) fn valloc(size: usize, aligned: Aligned) -> *mut c_void {
    aligned(page(), size)
}

pub(super) fn pvalloc(size: usize, aligned: Aligned) -> *mut c_void {
    match size.checked_next_multiple_of(page()) {
        Some(size) => aligned(page(), size),
        None => refused(libc::ENOMEM),
    }
}

/// The product of an array's two sizes, or `ENOMEM`.
#[inline(always)]
pub(super) fn array_size(count: usize, size: usize) -> Option<usize> {
    let bytes = count.checked_mul(size);
    if bytes.is_none() {
        errno::set(libc::ENOMEM);
    }
    bytes
}

#[cold]
pub(super) fn refused(code: c_int) -> *mut c_void {
    errno::set(code);
    null_mut()
}

fn page() -> usize {
    // SAFETY: no conditions. glibc answers from what the kernel told it at the start.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}
