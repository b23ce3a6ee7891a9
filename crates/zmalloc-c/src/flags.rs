//! Blocks with jemalloc's flags. Over another allocator, alignment and zeros are kept, and the flags that name a
//! thread cache or an arena, which it does not have, say nothing.

use core::ffi::{c_int, c_void};

#[cfg(feature = "jemalloc")]
mod with {
    use super::{c_int, c_void};
    use crate::HEAP;
    use zmalloc::heap::Flags;

    pub(super) const UNCACHED: c_int = Flags::UNCACHED.0;

    pub(super) fn malloc(size: usize, flags: c_int) -> *mut c_void {
        HEAP.malloc_with_flags(size, Flags(flags)).cast()
    }

    pub(super) unsafe fn realloc(ptr: *mut c_void, size: usize, flags: c_int) -> *mut c_void {
        // SAFETY: the caller's contract is the callee's.
        unsafe { HEAP.realloc_with_flags(ptr.cast(), size, Flags(flags)).cast() }
    }

    pub(super) unsafe fn free(ptr: *mut c_void, flags: c_int) {
        // SAFETY: the caller's contract is the callee's.
        unsafe { HEAP.free_with_flags(ptr.cast(), Flags(flags)) }
    }
}

#[cfg(not(feature = "jemalloc"))]
mod with {
    use super::{c_int, c_void};
    use crate::HEAP;

    pub(super) const UNCACHED: c_int = 0;

    /// The flag for zeros, and the bits that hold the logarithm of the alignment.
    const ZERO: c_int = 0x40;
    const LOG_ALIGNMENT: c_int = 0x3f;

    fn try_malloc(size: usize, flags: c_int) -> *mut u8 {
        match flags & LOG_ALIGNMENT {
            0 if flags & ZERO != 0 => HEAP.try_calloc(size),
            0 => HEAP.try_malloc(size),
            log => {
                let block = HEAP.try_malloc_aligned(1usize.checked_shl(log as u32).unwrap_or(0), size);
                if !block.is_null() && flags & ZERO != 0 {
                    // SAFETY: a new block of at least that size.
                    unsafe { block.write_bytes(0, size) };
                }
                block
            }
        }
    }

    pub(super) fn malloc(size: usize, flags: c_int) -> *mut c_void {
        let block = try_malloc(size, flags);
        if block.is_null() {
            zmalloc::out_of_memory(size);
        }
        block.cast()
    }

    pub(super) unsafe fn realloc(ptr: *mut c_void, size: usize, flags: c_int) -> *mut c_void {
        if ptr.is_null() {
            return malloc(size, flags);
        }
        // SAFETY: a live block, by the caller's contract; the new one is another one, and the copy stays in both.
        unsafe {
            if flags & (LOG_ALIGNMENT | ZERO) == 0 || size == 0 || size >= usize::MAX / 2 {
                return HEAP.realloc(ptr.cast(), size).cast();
            }
            let before = HEAP.usable_size(ptr.cast());
            let block = malloc(size, flags);
            if !block.is_null() {
                block.cast::<u8>().copy_from_nonoverlapping(ptr.cast(), before.min(size));
                HEAP.free(ptr.cast());
            }
            block
        }
    }

    pub(super) unsafe fn free(ptr: *mut c_void, _: c_int) {
        // SAFETY: the caller's contract is the callee's.
        unsafe { HEAP.free(ptr.cast()) }
    }
}

#[unsafe(export_name = symbol!("zmalloc_with_flags"))]
pub extern "C" fn zmalloc_with_flags(size: usize, flags: c_int) -> *mut c_void {
    with::malloc(size, flags)
}

#[unsafe(export_name = symbol!("zrealloc_with_flags"))]
pub unsafe extern "C" fn zrealloc_with_flags(ptr: *mut c_void, size: usize, flags: c_int) -> *mut c_void {
    // SAFETY: the caller's contract is the callee's.
    unsafe { with::realloc(ptr, size, flags) }
}

#[unsafe(export_name = symbol!("zfree_with_flags"))]
pub unsafe extern "C" fn zfree_with_flags(ptr: *mut c_void, flags: c_int) {
    // SAFETY: the caller's contract is the callee's.
    unsafe { with::free(ptr, flags) }
}

#[unsafe(export_name = symbol!("zmalloc_no_tcache"))]
pub extern "C" fn zmalloc_no_tcache(size: usize) -> *mut c_void {
    with::malloc(size, with::UNCACHED)
}

#[unsafe(export_name = symbol!("zfree_no_tcache"))]
pub unsafe extern "C" fn zfree_no_tcache(ptr: *mut c_void) {
    // SAFETY: the caller's contract is the callee's.
    unsafe { with::free(ptr, with::UNCACHED) }
}
