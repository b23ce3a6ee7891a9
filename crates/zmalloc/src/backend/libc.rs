//! The C library's own allocator: glibc, musl.

use super::{Allocation, Backend, Reallocation, Statistics, Version};
use core::alloc::Layout;
use core::ffi::c_void;
use core::ptr::null_mut;

/// C's `malloc`, whichever the process has: the C library's, or one that replaces it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Libc;

/// What `malloc` promises on this target: `alignof(max_align_t)`.
const MALLOC_ALIGNMENT: usize = if cfg!(any(target_arch = "x86", target_arch = "arm")) { 8 } else { 16 };

// SAFETY: 1. a block's usable size is in its header and does not change while it lives. 2. Refusals are null pointers
// and this is C. 3. It calls nothing of ours.
unsafe impl Backend for Libc {
    const NAME: &'static str = "libc";

    fn version() -> Version {
        #[cfg(target_env = "gnu")]
        {
            // SAFETY: a static string that ends with 0.
            Version::new(unsafe { core::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) }.to_bytes())
        }
        #[cfg(not(target_env = "gnu"))]
        Version::UNKNOWN
    }

    #[inline(always)]
    unsafe fn allocate(layout: Layout) -> Allocation {
        // SAFETY: no conditions of malloc; a layout's alignment is a power of two.
        unsafe {
            if layout.align() <= MALLOC_ALIGNMENT {
                Self::malloc(plain_size(layout.size(), layout.align()))
            } else {
                Self::malloc_aligned(layout.align(), layout.size())
            }
        }
    }

    #[inline(always)]
    unsafe fn allocate_zeroed(layout: Layout) -> Allocation {
        // SAFETY: no conditions of calloc; a new block has room for the layout's size.
        unsafe {
            if layout.align() <= MALLOC_ALIGNMENT {
                return Self::calloc(plain_size(layout.size(), layout.align()));
            }
            let block = Self::malloc_aligned(layout.align(), layout.size());
            if !block.ptr.is_null() {
                block.ptr.write_bytes(0, layout.size());
            }
            block
        }
    }

    #[inline(always)]
    unsafe fn deallocate(ptr: *mut u8, _: Layout) -> usize {
        // SAFETY: the caller's contract.
        unsafe { Self::free(ptr) }
    }

    #[inline(always)]
    unsafe fn reallocate(ptr: *mut u8, layout: Layout, new_size: usize) -> Reallocation {
        // SAFETY: the caller's contract; the copy stays within both blocks, which are distinct.
        unsafe {
            if layout.align() <= MALLOC_ALIGNMENT {
                return Self::realloc(ptr, plain_size(new_size, layout.align()));
            }
            let new = Self::malloc_aligned(layout.align(), new_size);
            if new.ptr.is_null() {
                return Reallocation::REFUSED;
            }
            new.ptr.copy_from_nonoverlapping(ptr, layout.size().min(new_size));
            Reallocation { ptr: new.ptr, credited: Self::free(ptr), charged: new.charged }
        }
    }

    #[inline(always)]
    unsafe fn malloc(size: usize) -> Allocation {
        // SAFETY: no conditions.
        unsafe { allocation(libc::malloc(size)) }
    }

    #[inline(always)]
    unsafe fn calloc(size: usize) -> Allocation {
        // SAFETY: no conditions.
        unsafe { allocation(libc::calloc(1, size)) }
    }

    unsafe fn malloc_aligned(alignment: usize, size: usize) -> Allocation {
        let mut block: *mut c_void = null_mut();
        // SAFETY: `block` is writable; the alignment is a power of two and a multiple of a pointer's size.
        unsafe {
            match libc::posix_memalign(&mut block, alignment.max(size_of::<*mut c_void>()), size) {
                0 => allocation(block),
                _ => Allocation::REFUSED,
            }
        }
    }

    unsafe fn realloc(ptr: *mut u8, size: usize) -> Reallocation {
        // SAFETY: a live block of this allocator, before and after.
        unsafe {
            let credited = Self::usable_size(ptr);
            let ptr = libc::realloc(ptr.cast(), size).cast::<u8>();
            if ptr.is_null() {
                return Reallocation::REFUSED;
            }
            Reallocation { ptr, credited, charged: Self::usable_size(ptr) }
        }
    }

    #[inline(always)]
    unsafe fn free(ptr: *mut u8) -> usize {
        // SAFETY: a live block.
        unsafe {
            let size = Self::usable_size(ptr);
            libc::free(ptr.cast());
            size
        }
    }

    #[inline(always)]
    unsafe fn usable_size(ptr: *const u8) -> usize {
        // SAFETY: a live block.
        unsafe { libc::malloc_usable_size(ptr.cast_mut().cast()) }
    }

    fn statistics() -> Statistics {
        #[cfg(target_env = "gnu")]
        {
            // SAFETY: no conditions. Takes each arena's lock in turn.
            let info = unsafe { libc::mallinfo2() };
            Statistics { allocated: Some(info.uordblks + info.hblkhd), ..Statistics::default() }
        }
        #[cfg(not(target_env = "gnu"))]
        Statistics::default()
    }

    fn purge() -> bool {
        #[cfg(target_env = "gnu")]
        // SAFETY: no conditions.
        unsafe {
            libc::malloc_trim(0);
            true
        }
        #[cfg(not(target_env = "gnu"))]
        false
    }
}

/// What to ask of `malloc` for a block of at most its alignment: it promises that only to blocks which are as large,
/// and where it is replaced, as by tcmalloc, it gives no more than it promises.
#[inline(always)]
fn plain_size(size: usize, alignment: usize) -> usize {
    size.max(alignment)
}

/// # Safety
/// `ptr` is null or a live block.
#[inline(always)]
unsafe fn allocation(ptr: *mut c_void) -> Allocation {
    if ptr.is_null() {
        return Allocation::REFUSED;
    }
    // SAFETY: a live block.
    Allocation { ptr: ptr.cast(), charged: unsafe { Libc::usable_size(ptr.cast()) } }
}
