//! jemalloc, which counts its own bytes per thread.

use super::{Backend, Statistics, ThreadCounters, Version};
use core::alloc::Layout;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::size_of;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering};
use tikv_jemalloc_sys as sys;

/// jemalloc 5.3, bundled by `tikv-jemalloc-sys`.
///
/// Its exact per-thread counters are the ledger: counting costs the test of one flag per operation. They count every
/// block of this jemalloc, so also what other code in the process takes from `tikv-jemalloc-sys` directly. When jemalloc
/// is built to replace C's `malloc` too (the crate's unprefixed feature), foreign threads would move the sums unseen;
/// then the ledger counts each call itself, at about 1.3x.
#[derive(Clone, Copy, Debug, Default)]
pub struct Jemalloc;

/// What `malloc` promises on this target: `alignof(max_align_t)`.
const MALLOC_ALIGNMENT: usize = if cfg!(any(target_arch = "x86", target_arch = "arm")) { 8 } else { 16 };

/// Whether `malloc` of this size aligns as asked, without being told.
#[inline(always)]
fn malloc_aligns(alignment: usize, size: usize) -> bool {
    alignment <= MALLOC_ALIGNMENT && alignment <= size
}

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
// lie in the thread's own storage; they count exactly the usable sizes. 5. No other backend here has counters.
unsafe impl Backend for Jemalloc {
    const NAME: &'static str = "jemalloc";
    const COUNTS_PER_THREAD: bool = true;

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
        if malloc_aligns(layout.align(), layout.size()) {
            // SAFETY: no conditions.
            return unsafe { sys::malloc(layout.size()).cast() };
        }
        // SAFETY: the size is above 0.
        unsafe { over_aligned::allocate(layout, 0) }
    }

    #[inline(always)]
    unsafe fn allocate_zeroed(layout: Layout) -> *mut u8 {
        if malloc_aligns(layout.align(), layout.size()) {
            // SAFETY: no conditions.
            return unsafe { sys::calloc(1, layout.size()).cast() };
        }
        // SAFETY: the size is above 0.
        unsafe { over_aligned::allocate(layout, sys::MALLOCX_ZERO) }
    }

    #[inline(always)]
    unsafe fn deallocate(ptr: *mut u8, layout: Layout) {
        if malloc_aligns(layout.align(), layout.size()) {
            // SAFETY: a live block, allocated with this size and no alignment of its own.
            return unsafe { sys::sdallocx(ptr.cast(), layout.size(), 0) };
        }
        // SAFETY: a live block and its layout.
        unsafe { over_aligned::deallocate(ptr, layout) };
    }

    #[inline(always)]
    unsafe fn reallocate(ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if malloc_aligns(layout.align(), new_size) {
            // SAFETY: a live block, and a new size above 0.
            return unsafe { sys::realloc(ptr.cast(), new_size).cast() };
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

    fn on_thread_allocated(interval: u64, look: extern "C" fn(allocated: u64, freed: u64)) -> bool {
        /// jemalloc's `user_hook_object_t`.
        #[repr(C)]
        struct Hook {
            callback: extern "C" fn(is_allocation: bool, allocated: u64, freed: u64),
            interval: u64,
            is_allocation_only: bool,
        }

        static LOOK: AtomicPtr<()> = AtomicPtr::new(null_mut());

        extern "C" fn callback(_: bool, allocated: u64, freed: u64) {
            // SAFETY: stored below, before jemalloc knows this callback.
            let look =
                unsafe { core::mem::transmute::<*mut (), extern "C" fn(u64, u64)>(LOOK.load(Ordering::Relaxed)) };
            look(allocated, freed);
        }

        LOOK.store(look as *mut (), Ordering::Release);
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
        if figure(c"stats.allocated").is_none() {
            return Statistics::default();
        }
        // The figures are as of the last epoch, so a new one is begun.
        let mut epoch = 1u64;
        // SAFETY: name and both values fit jemalloc's table: a uint64_t in and out.
        unsafe {
            let mut length = size_of::<u64>();
            let value: *mut c_void = (&raw mut epoch).cast();
            sys::mallctl(c"epoch".as_ptr(), value, &mut length, value, length);
        }
        let mut page = 0usize;
        let page = if read(c"arenas.page", &mut page) { page } else { 0 };
        Statistics {
            allocated: figure(c"stats.allocated"),
            active: figure(c"stats.active"),
            resident: figure(c"stats.resident"),
            retained: figure(c"stats.retained"),
            // All arenas together: MALLCTL_ARENAS_ALL.
            muzzy: figure(c"stats.arenas.4096.pmuzzy").map(|pages| pages * page),
        }
    }

    fn purge() -> bool {
        // SAFETY: a name of jemalloc's table that takes no value; 4096 is MALLCTL_ARENAS_ALL.
        unsafe { sys::mallctl(c"arena.4096.purge".as_ptr(), null_mut(), null_mut(), null_mut(), 0) == 0 }
    }
}

/// Reads one value of jemalloc's table.
fn read<T>(name: &CStr, value: &mut T) -> bool {
    let mut length = size_of::<T>();
    // SAFETY: the name ends with 0, and jemalloc writes at most `length` bytes, refusing if its value has another size.
    unsafe { sys::mallctl(name.as_ptr(), (&raw mut *value).cast(), &mut length, null_mut(), 0) == 0 }
}

fn figure(name: &CStr) -> Option<usize> {
    let mut value = 0usize;
    read(name, &mut value).then_some(value)
}

/// The usable size of a block of this layout, whose size is above 0.
#[inline(always)]
fn usable(layout: Layout) -> usize {
    let (size, alignment) = (layout.size(), layout.align());
    // A layout's size rounds up without overflow.
    let rounded = (size + alignment - 1) & !(alignment - 1);
    if rounded <= CLASS_MAX && alignment <= 4096 && formula_holds() {
        return class(rounded);
    }
    ask(size, alignment)
}

/// The largest size class that does not depend on jemalloc's options.
const CLASS_MAX: usize = 32 << 10;

/// jemalloc's size class of `size` bytes with a 16-byte quantum: multiples of 16 up to 128, then four to a doubling.
#[inline(always)]
const fn class(size: usize) -> usize {
    if size <= 8 {
        return 8;
    }
    if size <= 128 {
        return (size + 15) & !15;
    }
    let step = 1 << ((size - 1).ilog2() - 2);
    (size + step - 1) & !(step - 1)
}

fn ask(size: usize, alignment: usize) -> usize {
    // SAFETY: a size above 0 and a power of two.
    unsafe { sys::nallocx(size, alignment_flag(alignment)) }
}

/// Whether the jemalloc that is linked has the classes of `class`: one with another quantum may have been chosen.
#[inline(always)]
fn formula_holds() -> bool {
    static HOLDS: AtomicU8 = AtomicU8::new(0);
    const YES: u8 = 1;
    const NO: u8 = 2;

    #[cold]
    fn check() -> bool {
        let mut size = 1;
        while size <= CLASS_MAX && ask(size, 1) == class(size) && ask(class(size), 1) == class(size) {
            size = class(size) + 1;
        }
        let holds = size > CLASS_MAX;
        HOLDS.store(if holds { YES } else { NO }, Ordering::Relaxed);
        holds
    }

    match HOLDS.load(Ordering::Relaxed) {
        YES => true,
        NO => false,
        _ => check(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_is_jemallocs() {
        for alignment in (0..14).map(|log| 1usize << log) {
            let sizes = (1..5000).chain((5000..CLASS_MAX * 2).step_by(97));
            for size in sizes {
                let layout = Layout::from_size_align(size, alignment).unwrap();
                assert_eq!(usable(layout), ask(size, alignment), "{size} aligned to {alignment}");
            }
        }
        assert!(formula_holds());
    }

    #[test]
    fn tells_its_version() {
        assert!(Jemalloc::version().as_str().starts_with("5."), "{}", Jemalloc::version());
    }
}
