//! jemalloc, which counts its own bytes per thread.

mod control;
mod size_class;
mod statistics;
mod utilization;

pub use statistics::{Arena, ArenaStatistics};

use super::{Backend, Statistics, ThreadCounters, Version};
use control::{read, run};
use core::alloc::Layout;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};
use size_class::usable;
use tikv_jemalloc_sys as sys;

/// jemalloc 5.3, bundled by `tikv-jemalloc-sys`.
///
/// Its exact per-thread counters are the ledger: counting costs the test of one flag per operation. They count every
/// block of this jemalloc, so also what other code in the process takes from `tikv-jemalloc-sys` directly. When jemalloc
/// is built to replace C's `malloc` too (the crate's unprefixed feature), foreign threads would move the sums unseen;
/// then the ledger counts each call itself, at about 1.3x.
#[derive(Clone, Copy, Debug, Default)]
pub struct Jemalloc;

/// Alignments up to which jemalloc's `malloc` needs no flag, if the size is a multiple of them: size classes that are
/// multiples of 16 are aligned to 16. With a quantum of 8 bytes there are others, like 24, that are not.
const MALLOC_ALIGNMENT: usize = if cfg!(any(target_arch = "x86", target_arch = "arm")) { 8 } else { 16 };

/// What to ask `malloc` for, so that it aligns as asked without being told; `None` if it has to be told.
#[inline(always)]
fn plain_size(alignment: usize, size: usize) -> Option<usize> {
    if alignment <= 8 {
        return Some(size);
    }
    rare();
    // A layout's size rounds up without overflow.
    (alignment <= MALLOC_ALIGNMENT).then(|| (size + alignment - 1) & !(alignment - 1))
}

/// Says to the compiler that what goes by here is rare, so that what is not goes straight on.
#[cold]
const fn rare() {}

fn alignment_flag(alignment: usize) -> c_int {
    alignment.trailing_zeros() as c_int
}

/// Layouts that have to ask for their alignment, which are few: out of the way of all others.
mod over_aligned {
    use super::{Layout, alignment_flag, c_int, sys};

    #[cold]
    #[inline(never)]
    pub(super) unsafe fn allocate(layout: Layout, flags: c_int) -> *mut u8 {
        // SAFETY: the caller gives a size above 0.
        unsafe { sys::mallocx(layout.size(), flags | alignment_flag(layout.align())).cast() }
    }

    #[cold]
    #[inline(never)]
    pub(super) unsafe fn deallocate(ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller gives a live block that was allocated with this size and alignment.
        unsafe { sys::sdallocx(ptr.cast(), layout.size(), alignment_flag(layout.align())) }
    }
}

// SAFETY: 1. usable sizes depend on size and alignment alone, and `nallocx`, the formula and `malloc_usable_size`
// agree on them. 2. jemalloc's refusals are null pointers and it is C. 3. It calls nothing of ours. 4. The counters
// lie in the thread's own storage; they count exactly the usable sizes. 5. jemalloc takes size 0 for 1, has no class of
// half of the address space, and its free ignores null. 6. No other backend here has counters.
unsafe impl Backend for Jemalloc {
    const NAME: &'static str = "jemalloc";
    const COUNTS_PER_THREAD: bool = true;
    const HANDLES_CORNERS: bool = true;

    fn version() -> Version {
        let mut version: *const c_char = core::ptr::null();
        if !read(c"version", &mut version) || version.is_null() {
            return Version::UNKNOWN;
        }
        // SAFETY: jemalloc answers with a static string.
        let text = unsafe { CStr::from_ptr(version) }.to_bytes();
        // Like `5.3.1-0-g81034ce1f1373e37dc865038e1bc8eeecf559ce8`: what follows is the commit.
        Version::new(text.split(|&byte| byte == b'-').next().unwrap_or(text))
    }

    #[inline(always)]
    unsafe fn allocate(layout: Layout) -> *mut u8 {
        if let Some(size) = plain_size(layout.align(), layout.size()) {
            // SAFETY: no conditions.
            return unsafe { sys::malloc(size).cast() };
        }
        // SAFETY: the size is above 0.
        unsafe { over_aligned::allocate(layout, 0) }
    }

    #[inline(always)]
    unsafe fn allocate_zeroed(layout: Layout) -> *mut u8 {
        if let Some(size) = plain_size(layout.align(), layout.size()) {
            // SAFETY: no conditions.
            return unsafe { sys::calloc(1, size).cast() };
        }
        // SAFETY: the size is above 0.
        unsafe { over_aligned::allocate(layout, sys::MALLOCX_ZERO) }
    }

    #[inline(always)]
    unsafe fn deallocate(ptr: *mut u8, layout: Layout) {
        if let Some(size) = plain_size(layout.align(), layout.size()) {
            // SAFETY: a live block, allocated with this size and no alignment of its own.
            return unsafe { sys::sdallocx(ptr.cast(), size, 0) };
        }
        // SAFETY: a live block and its layout.
        unsafe { over_aligned::deallocate(ptr, layout) };
    }

    #[inline(always)]
    unsafe fn reallocate(ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if let Some(size) = plain_size(layout.align(), new_size) {
            // SAFETY: a live block, and a new size above 0.
            return unsafe { sys::realloc(ptr.cast(), size).cast() };
        }
        // SAFETY: a live block, and a new size above 0.
        unsafe { sys::rallocx(ptr.cast(), new_size, alignment_flag(layout.align())).cast() }
    }

    #[inline(always)]
    unsafe fn malloc(size: usize) -> *mut u8 {
        // SAFETY: no conditions.
        unsafe { sys::malloc(size).cast() }
    }

    #[inline(always)]
    unsafe fn calloc(size: usize) -> *mut u8 {
        // SAFETY: no conditions.
        unsafe { sys::calloc(1, size).cast() }
    }

    #[inline(always)]
    unsafe fn malloc_aligned(alignment: usize, size: usize) -> *mut u8 {
        // SAFETY: a size above 0 and a power of two.
        unsafe { sys::mallocx(size.max(1), alignment_flag(alignment)).cast() }
    }

    #[inline(always)]
    unsafe fn realloc(ptr: *mut u8, size: usize) -> *mut u8 {
        // SAFETY: a live block.
        unsafe { sys::realloc(ptr.cast(), size).cast() }
    }

    #[inline(always)]
    unsafe fn free(ptr: *mut u8) {
        // SAFETY: a live block.
        unsafe { sys::free(ptr.cast()) }
    }

    #[inline(always)]
    unsafe fn free_charged(ptr: *mut u8, charged: usize) {
        // SAFETY: a live block; its usable size is a size that it may be freed with.
        unsafe { sys::sdallocx(ptr.cast(), charged, 0) }
    }

    #[inline(always)]
    unsafe fn usable_size(ptr: *const u8) -> usize {
        // SAFETY: a live block.
        unsafe { sys::malloc_usable_size(ptr.cast()) }
    }

    #[inline(always)]
    unsafe fn charged_size_of(ptr: *const u8, layout: Layout) -> usize {
        let usable = usable(layout);
        // SAFETY: a live block.
        debug_assert_eq!(usable, unsafe { Self::usable_size(ptr) });
        usable
    }

    fn charge_at_most(size: usize, alignment: usize) -> usize {
        // What has no layout, jemalloc has no block for.
        Layout::from_size_align(size.max(1), alignment).map_or(0, usable)
    }

    fn thread_counters() -> Option<ThreadCounters> {
        // Where C's malloc is this jemalloc too, threads that never come here allocate what threads that do free.
        if core::ptr::fn_addr_eq(
            libc::malloc as unsafe extern "C" fn(usize) -> *mut c_void,
            sys::malloc as unsafe extern "C" fn(usize) -> *mut c_void,
        ) {
            return None;
        }
        let (mut allocated, mut freed) = (null_mut::<u64>(), null_mut::<u64>());
        let known = read(c"thread.allocatedp", &mut allocated) && read(c"thread.deallocatedp", &mut freed);
        (known && !allocated.is_null() && !freed.is_null()).then_some(ThreadCounters { allocated, freed })
    }

    fn on_thread_allocated(interval: u64, look: extern "C" fn(allocated: u64)) -> bool {
        /// jemalloc's `user_hook_object_t`.
        #[repr(C)]
        struct Hook {
            callback: extern "C" fn(is_allocation: bool, allocated: u64, freed: u64),
            interval: u64,
            is_allocation_only: bool,
        }

        /// Who looks, for the peak and for the limit: jemalloc tells them nothing of their own.
        static LOOKS: [AtomicPtr<()>; 2] = [const { AtomicPtr::new(null_mut()) }; 2];

        extern "C" fn callback<const PLACE: usize>(_: bool, allocated: u64, _: u64) {
            let look = LOOKS[PLACE].load(Ordering::Relaxed);
            // SAFETY: stored below, before jemalloc knows this callback.
            unsafe { core::mem::transmute::<*mut (), extern "C" fn(u64)>(look)(allocated) };
        }

        let take = |place: &AtomicPtr<()>| match place.compare_exchange(
            null_mut(),
            look as *mut (),
            Ordering::Release,
            Ordering::Relaxed,
        ) {
            Ok(_) => true,
            Err(other) => other == look as *mut (),
        };
        let callback = match LOOKS.iter().position(take) {
            Some(0) => callback::<0>,
            Some(_) => callback::<1>,
            None => return false,
        };
        let mut hook = Hook { callback, interval, is_allocation_only: true };
        // SAFETY: the name ends with 0, and the value has the layout that jemalloc checks by its size and copies.
        unsafe {
            let value = (&raw mut hook).cast();
            let name = c"experimental.hooks.thread_event";
            sys::mallctl(name.as_ptr(), null_mut(), null_mut(), value, size_of::<Hook>()) == 0
        }
    }

    /// Nothing without the feature `jemalloc-statistics`: then jemalloc does not keep them.
    fn statistics() -> Statistics {
        if !Jemalloc::refresh_statistics() {
            return Statistics::default();
        }
        Jemalloc::statistics_of_refresh()
    }

    fn purge() -> bool {
        // All arenas together.
        run(c"arena.4096.purge")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_its_version() {
        assert!(Jemalloc::version().as_str().starts_with("5."), "{}", Jemalloc::version());
    }
}
