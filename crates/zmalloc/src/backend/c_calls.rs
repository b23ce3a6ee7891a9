//! C's `malloc` and its relatives, in the shapes of [`Backend`](super::Backend): for every backend over a C library.

use core::alloc::Layout;
use core::ffi::c_void;
use core::ptr::null_mut;

/// What `malloc` promises on this target: `alignof(max_align_t)`.
pub(super) const MALLOC_ALIGNMENT: usize = if cfg!(any(target_arch = "x86", target_arch = "arm")) { 8 } else { 16 };

/// What to ask of `malloc` for a block of at most its alignment: it promises that only to blocks which are as large,
/// and where it is replaced, as by tcmalloc, it gives no more than it promises.
#[inline(always)]
fn plain_size(size: usize, alignment: usize) -> usize {
    size.max(alignment)
}

/// # Safety
/// `layout` has a size above 0.
#[inline(always)]
pub(super) unsafe fn allocate(layout: Layout) -> *mut u8 {
    // SAFETY: no conditions of malloc; a layout's alignment is a power of two.
    unsafe {
        if layout.align() <= MALLOC_ALIGNMENT {
            malloc(plain_size(layout.size(), layout.align()))
        } else {
            malloc_aligned(layout.align(), layout.size())
        }
    }
}

/// # Safety
/// `layout` has a size above 0.
#[inline(always)]
pub(super) unsafe fn allocate_zeroed(layout: Layout) -> *mut u8 {
    // SAFETY: no conditions of calloc; a new block has room for the layout's size.
    unsafe {
        if layout.align() <= MALLOC_ALIGNMENT {
            return calloc(plain_size(layout.size(), layout.align()));
        }
        let block = malloc_aligned(layout.align(), layout.size());
        if !block.is_null() {
            block.write_bytes(0, layout.size());
        }
        block
    }
}

/// # Safety
/// 1. `ptr` is a live block of C's malloc. 2. `layout` is the one it was last given or resized to. 3. `new_size` is
///    above 0.
#[inline(always)]
pub(super) unsafe fn reallocate(ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
    // SAFETY: the caller's contract; the copy stays within both blocks, which are distinct.
    unsafe {
        if layout.align() <= MALLOC_ALIGNMENT {
            return realloc(ptr, plain_size(new_size, layout.align()));
        }
        let new = malloc_aligned(layout.align(), new_size);
        if !new.is_null() {
            new.copy_from_nonoverlapping(ptr, layout.size().min(new_size));
            free(ptr);
        }
        new
    }
}

/// # Safety
/// None of its own; unsafe because the block is raw memory.
#[inline(always)]
pub(super) unsafe fn malloc(size: usize) -> *mut u8 {
    // SAFETY: no conditions.
    unsafe { libc::malloc(size).cast() }
}

/// # Safety
/// None of its own; unsafe because the block is raw memory.
#[inline(always)]
pub(super) unsafe fn calloc(size: usize) -> *mut u8 {
    // SAFETY: no conditions.
    unsafe { libc::calloc(1, size).cast() }
}

/// Out of the way of the others, for its local costs a stack frame.
///
/// # Safety
/// `alignment` is a power of two.
#[inline(never)]
pub(super) unsafe fn malloc_aligned(alignment: usize, size: usize) -> *mut u8 {
    let mut block: *mut c_void = null_mut();
    // SAFETY: `block` is writable; the alignment is a power of two and a multiple of a pointer's size.
    match unsafe { libc::posix_memalign(&mut block, alignment.max(size_of::<*mut c_void>()), size) } {
        0 => block.cast(),
        _ => null_mut(),
    }
}

/// # Safety
/// 1. `ptr` is a live block of C's malloc. 2. `size > 0`.
#[inline(always)]
pub(super) unsafe fn realloc(ptr: *mut u8, size: usize) -> *mut u8 {
    // SAFETY: a live block.
    unsafe { libc::realloc(ptr.cast(), size).cast() }
}

/// # Safety
/// `ptr` is a live block of C's malloc.
#[inline(always)]
pub(super) unsafe fn free(ptr: *mut u8) {
    // SAFETY: a live block.
    unsafe { libc::free(ptr.cast()) }
}
