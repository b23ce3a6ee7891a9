//! C's family. The contracts are those of the C standard, POSIX and glibc's manual.
#![allow(clippy::missing_safety_doc, reason = "C's contracts")]

use crate::beneath;
use core::ffi::{c_int, c_void};

macro_rules! forward {
    ($($name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? = $inner:ident($($passed:ident),*);)*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $type),*) $(-> $result)? {
            // SAFETY: the program keeps C's contract.
            #[allow(unused_unsafe, reason = "some have no conditions")]
            unsafe { beneath::$inner($($passed),*) }
        }
    )* };
}

forward! {
    malloc(size: usize) -> *mut c_void = malloc(size);
    calloc(count: usize, size: usize) -> *mut c_void = calloc(count, size);
    realloc(block: *mut c_void, size: usize) -> *mut c_void = realloc(block, size);
    reallocarray(block: *mut c_void, count: usize, size: usize) -> *mut c_void = reallocarray(block, count, size);
    free(block: *mut c_void) = free(block);
    cfree(block: *mut c_void) = free(block);
    free_sized(block: *mut c_void, _size: usize) = free(block);
    free_aligned_sized(block: *mut c_void, _alignment: usize, _size: usize) = free(block);
    posix_memalign(out: *mut *mut c_void, alignment: usize, size: usize) -> c_int
        = posix_memalign(out, alignment, size);
    aligned_alloc(alignment: usize, size: usize) -> *mut c_void = aligned_alloc(alignment, size);
    memalign(alignment: usize, size: usize) -> *mut c_void = memalign(alignment, size);
    valloc(size: usize) -> *mut c_void = valloc(size);
    pvalloc(size: usize) -> *mut c_void = pvalloc(size);
    malloc_usable_size(block: *mut c_void) -> usize = usable_size(block);
    malloc_trim(keep: usize) -> c_int = trim(keep);
}
