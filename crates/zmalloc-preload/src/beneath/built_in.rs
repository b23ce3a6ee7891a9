//! An allocator of our own: every call of the program goes to the one that this library was built with.

use super::{built, charge, charge_or_free, credit, limited, move_out_of_arena};
use crate::object::Object;
use crate::{arena, start, tree};
use core::alloc::Layout;
use core::ffi::{c_int, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};
use zmalloc::backend::Backend;
use zmalloc::ledger;

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
    // SAFETY: a size above 0.
    give(size, |layout| unsafe { Built::allocate(layout) })
}

#[inline(always)]
pub(crate) unsafe fn calloc(count: usize, size: usize) -> *mut c_void {
    let Some(bytes) = built::array_size(count, size) else { return null_mut() };
    if !started() {
        return arena::allocate(1, bytes);
    }
    // SAFETY: a size above 0.
    give(bytes, |layout| unsafe { Built::allocate_zeroed(layout) })
}

#[inline(always)]
pub(crate) unsafe fn free(block: *mut c_void) {
    if block.is_null() {
        return;
    }
    if arena::owns(block) {
        return arena::take_back();
    }
    if !started() {
        return;
    }
    // SAFETY: a live block, by the C contract. Credited before it is freed, when it may be another thread's already.
    unsafe {
        let charged = Built::charged_size(block.cast());
        credit(charged);
        Built::free_charged(block.cast(), charged);
    }
    if tree::is_shared() {
        tree::after_free();
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
        let before = Built::charged_size(block.cast());
        if limited::is_asked(before, size) && ledger::is_armed() {
            let make = || Built::realloc(block.cast(), size).cast();
            let change = |block: *mut c_void| (before, Built::charged_size(block.cast()));
            let resized = limited::resize(before, size, Built::charge_at_most(size, 1), make, change);
            return if resized.is_null() { built::refused(libc::ENOMEM) } else { resized };
        }
        let resized = Built::realloc(block.cast(), size);
        if resized.is_null() {
            return built::refused(libc::ENOMEM);
        }
        credit(before);
        charge(Built::charged_size(resized));
        resized.cast()
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

/// Has unused pages given back, where the allocator offers that.
pub(crate) fn purge() -> bool {
    started() && Built::purge()
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
    if size > TOO_LARGE {
        return built::refused(libc::ENOMEM);
    }
    // SAFETY: a power of two, and a live block.
    unsafe {
        make(alignment, size, || Built::malloc_aligned(alignment, size.max(1)), |block| Built::charged_size(block))
    }
}

/// A block by layout, which usually tells its charge, so that no look-up is needed.
#[inline(always)]
fn give(size: usize, allocate: impl FnOnce(Layout) -> *mut u8) -> *mut c_void {
    if size > TOO_LARGE {
        return built::refused(libc::ENOMEM);
    }
    // Not every allocator takes a size of 0; a program that asks for nothing gets a block of its own. Where `malloc`
    // aligns a block, it does so by its size.
    // SAFETY: the size fits `isize`, and 1 is a power of two.
    let layout = unsafe { Layout::from_size_align_unchecked(size.max(1), 1) };
    // SAFETY: a live block of this layout.
    make(1, size, || allocate(layout), |block| unsafe { Built::charged_size_of(block, layout) })
}

/// A block of `size` bytes or more, counted; asked for first if there is a limit and it is not small.
#[inline(always)]
fn make(
    alignment: usize,
    size: usize,
    allocate: impl FnOnce() -> *mut u8,
    charged: impl FnOnce(*mut u8) -> usize,
) -> *mut c_void {
    // SAFETY: a block that was just given out, and that nobody else has seen.
    let free = |block: *mut c_void| unsafe { Built::free(block.cast()) };
    if limited::is_large(alignment, size) && ledger::is_armed() {
        let charge = |block: *mut c_void| charged(block.cast());
        let block = limited::block(size, || allocate().cast(), charge, |block, _| free(block));
        return if block.is_null() { built::refused(libc::ENOMEM) } else { block };
    }
    let block = allocate();
    if block.is_null() {
        return built::refused(libc::ENOMEM);
    }
    charge_or_free(block.cast(), charged(block), free)
}

/// False inside the start.
#[inline(always)]
fn started() -> bool {
    STARTED.load(Ordering::Acquire) || start::ready()
}
