//! An allocator of our own: every call of the program goes to the one that this library was built with.

use super::{built, charge, credit, move_out_of_arena};
use crate::object::Object;
use crate::{arena, start};
use core::ffi::{c_int, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};
use zmalloc::backend::{Allocation, Backend};

#[cfg(feature = "jemalloc")]
use zmalloc::backend::Jemalloc as Built;
#[cfg(all(feature = "mimalloc", not(feature = "jemalloc")))]
use zmalloc::backend::Mimalloc as Built;
#[cfg(all(feature = "snmalloc", not(any(feature = "jemalloc", feature = "mimalloc"))))]
use zmalloc::backend::Snmalloc as Built;

static STARTED: AtomicBool = AtomicBool::new(false);

/// A request of half of the address space or more is refused without asking.
const TOO_LARGE: usize = isize::MAX as usize;

/// Answers what the allocator is called.
pub(crate) fn find() -> &'static str {
    Built::NAME
}

/// The last step of the start.
pub(crate) fn begin() {
    STARTED.store(true, Ordering::Release);
}

/// The object whose mappings are the allocator's: it is part of this one, which is never asked.
pub(crate) fn object() -> Object {
    Object::NONE
}

#[inline(always)]
pub(crate) unsafe fn malloc(size: usize) -> *mut c_void {
    if !started() {
        return arena::allocate(1, size);
    }
    // SAFETY: no conditions of its own.
    give(size, |size| unsafe { Built::malloc(size) })
}

#[inline(always)]
pub(crate) unsafe fn calloc(count: usize, size: usize) -> *mut c_void {
    let Some(bytes) = built::array_size(count, size) else { return null_mut() };
    if !started() {
        return arena::allocate(1, bytes);
    }
    // SAFETY: no conditions of its own.
    give(bytes, |bytes| unsafe { Built::calloc(bytes) })
}

#[inline(always)]
pub(crate) unsafe fn free(block: *mut c_void) {
    if block.is_null() || arena::owns(block) || !started() {
        return;
    }
    // SAFETY: a live block, by the C contract. Credited before it is freed, when it may be another thread's already.
    unsafe {
        credit(Built::charged_size(block.cast()));
        Built::free_uncounted(block.cast());
    }
}

/// A size of 0 frees the block and answers null, as glibc has it.
#[inline]
pub(crate) unsafe fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: a live block or null, by the C contract; not null and a size above 0 where asked.
    unsafe {
        if block.is_null() {
            return malloc(size);
        }
        if arena::owns(block) {
            return move_out_of_arena(block, malloc(size), size);
        }
        if size == 0 {
            free(block);
            return null_mut();
        }
        if size > TOO_LARGE {
            return built::refused(libc::ENOMEM);
        }
        let resized = Built::realloc(block.cast(), size);
        if resized.ptr.is_null() {
            return built::refused(libc::ENOMEM);
        }
        credit(resized.credited);
        charge(resized.charged);
        resized.ptr.cast()
    }
}

pub(crate) unsafe fn reallocarray(block: *mut c_void, count: usize, size: usize) -> *mut c_void {
    // SAFETY: the caller's contract.
    built::array_size(count, size).map_or(null_mut(), |bytes| unsafe { realloc(block, bytes) })
}

pub(crate) unsafe fn posix_memalign(out: *mut *mut c_void, alignment: usize, size: usize) -> c_int {
    // SAFETY: the program's pointer.
    unsafe { built::posix_memalign(out, alignment, size, &aligned) }
}

pub(crate) fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
    built::aligned_alloc(alignment, size, &aligned)
}

pub(crate) fn memalign(alignment: usize, size: usize) -> *mut c_void {
    built::memalign(alignment, size, &aligned)
}

pub(crate) fn valloc(size: usize) -> *mut c_void {
    built::valloc(size, &aligned)
}

pub(crate) fn pvalloc(size: usize) -> *mut c_void {
    built::pvalloc(size, &aligned)
}

pub(crate) unsafe fn usable_size(block: *mut c_void) -> usize {
    if block.is_null() {
        return 0;
    }
    // SAFETY: a live block of the arena or of the allocator.
    unsafe { if arena::owns(block) { arena::usable_size(block) } else { Built::usable_size(block.cast()) } }
}

pub(crate) fn trim(_: usize) -> c_int {
    c_int::from(started() && Built::purge())
}

/// A block aligned to a power of two, counted.
fn aligned(alignment: usize, size: usize) -> *mut c_void {
    if !started() {
        return arena::allocate(alignment, size);
    }
    if alignment > TOO_LARGE / 2 {
        return built::refused(libc::ENOMEM);
    }
    // SAFETY: a power of two.
    give(size, |size| unsafe { Built::malloc_aligned(alignment, size) })
}

#[inline(always)]
fn give(size: usize, allocate: impl FnOnce(usize) -> Allocation) -> *mut c_void {
    if size > TOO_LARGE {
        return built::refused(libc::ENOMEM);
    }
    // Not every allocator takes a size of 0; a program that asks for nothing gets a block of its own.
    let block = allocate(size.max(1));
    if block.ptr.is_null() {
        return built::refused(libc::ENOMEM);
    }
    charge(block.charged);
    block.ptr.cast()
}

/// False inside the start.
#[inline(always)]
fn started() -> bool {
    STARTED.load(Ordering::Acquire) || start::ready()
}
