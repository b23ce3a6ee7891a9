//! The C library's own allocator: glibc, musl.

use super::{Backend, Statistics, Version, c_calls};
use core::alloc::Layout;
#[cfg(target_env = "gnu")]
use core::ffi::c_void;

/// C's `malloc`, whichever the process has: the C library's, or one that replaces it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Libc;

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
    unsafe fn allocate(layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is the callee's.
        unsafe { c_calls::allocate(layout) }
    }

    #[inline(always)]
    unsafe fn allocate_zeroed(layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is the callee's.
        unsafe { c_calls::allocate_zeroed(layout) }
    }

    #[inline(always)]
    unsafe fn deallocate(ptr: *mut u8, _: Layout) {
        // SAFETY: a live block.
        unsafe { c_calls::free(ptr) }
    }

    #[inline(always)]
    unsafe fn reallocate(ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's contract is the callee's.
        unsafe { c_calls::reallocate(ptr, layout, new_size) }
    }

    #[inline(always)]
    unsafe fn malloc(size: usize) -> *mut u8 {
        // SAFETY: no conditions.
        unsafe { c_calls::malloc(size) }
    }

    #[inline(always)]
    unsafe fn calloc(size: usize) -> *mut u8 {
        // SAFETY: no conditions.
        unsafe { c_calls::calloc(size) }
    }

    #[inline(always)]
    unsafe fn malloc_aligned(alignment: usize, size: usize) -> *mut u8 {
        // SAFETY: a power of two.
        unsafe { c_calls::malloc_aligned(alignment, size) }
    }

    #[inline(always)]
    unsafe fn realloc(ptr: *mut u8, size: usize) -> *mut u8 {
        // SAFETY: the caller's contract is the callee's.
        unsafe { c_calls::realloc(ptr, size) }
    }

    #[inline(always)]
    unsafe fn free(ptr: *mut u8) {
        // SAFETY: a live block.
        unsafe { c_calls::free(ptr) }
    }

    #[inline(always)]
    unsafe fn usable_size(ptr: *const u8) -> usize {
        // SAFETY: a live block.
        unsafe { usable_size(ptr) }
    }

    #[cfg(all(target_env = "gnu", target_arch = "x86_64"))]
    #[inline(always)]
    unsafe fn charged_at_hand(ptr: *const u8, _: Layout) -> Option<usize> {
        // SAFETY: a live block.
        unsafe { header::at_hand(ptr) }
    }

    fn statistics() -> Statistics {
        #[cfg(target_env = "gnu")]
        if is_glibcs(libc::malloc as *const c_void) {
            // SAFETY: no conditions. Takes each arena's lock in turn.
            let info = unsafe { libc::mallinfo2() };
            return Statistics { allocated: Some(info.uordblks + info.hblkhd), ..Statistics::default() };
        }
        Statistics::default()
    }

    fn purge() -> bool {
        #[cfg(target_env = "gnu")]
        if is_glibcs(libc::malloc as *const c_void) {
            // SAFETY: no conditions.
            unsafe { libc::malloc_trim(0) };
            return true;
        }
        false
    }
}

/// Whether a function lies in the same object as `gnu_get_libc_version`, so that no other malloc replaces it.
#[cfg(target_env = "gnu")]
fn is_glibcs(function: *const c_void) -> bool {
    let object = |address: *const c_void| {
        // SAFETY: `dladdr` writes `info` or answers 0; it neither allocates nor fails otherwise.
        unsafe {
            let mut info: libc::Dl_info = core::mem::zeroed();
            (libc::dladdr(address, &mut info) != 0).then_some(info.dli_fbase)
        }
    };
    object(function) == object(libc::gnu_get_libc_version as *const c_void)
}

/// # Safety
/// `ptr` is a live block.
#[cfg(not(all(target_env = "gnu", target_arch = "x86_64")))]
#[inline(always)]
unsafe fn usable_size(ptr: *const u8) -> usize {
    // SAFETY: a live block.
    unsafe { libc::malloc_usable_size(ptr.cast_mut().cast()) }
}

#[cfg(all(target_env = "gnu", target_arch = "x86_64"))]
use header::usable_size;

/// glibc's chunk headers, where the malloc of this process has them.
#[cfg(all(target_env = "gnu", target_arch = "x86_64"))]
mod header {
    use super::is_glibcs;
    use crate::backend::glibc_chunk;
    use core::ffi::c_void;
    use core::sync::atomic::{AtomicU8, Ordering};

    /// # Safety
    /// `ptr` is a live block of C's malloc.
    #[inline(always)]
    pub(super) unsafe fn usable_size(ptr: *const u8) -> usize {
        // SAFETY: a live block.
        unsafe { at_hand(ptr).unwrap_or_else(|| ask(ptr)) }
    }

    /// As `usable_size`, if the headers are known to be glibc's and the block is no mapping of its own.
    ///
    /// # Safety
    /// As `usable_size`.
    #[inline(always)]
    pub(super) unsafe fn at_hand(ptr: *const u8) -> Option<usize> {
        // SAFETY: one comparison; the jump leaves the block for the label alone.
        unsafe {
            core::arch::asm!(
                "cmp byte ptr [rip + {holds}], {yes}",
                "jne {unknown}",
                holds = sym HOLDS,
                yes = const YES,
                unknown = label { return None },
                options(readonly, nostack),
            );
        }
        // SAFETY: a live block, and the headers were seen to be glibc's.
        unsafe { glibc_chunk::usable_size(ptr) }
    }

    /// # Safety
    /// `ptr` is a live block of C's malloc.
    #[cold]
    #[inline(never)]
    unsafe fn ask(ptr: *const u8) -> usize {
        if HOLDS.load(Ordering::Relaxed) == UNKNOWN {
            HOLDS.store(if header_holds() { YES } else { NO }, Ordering::Relaxed);
        }
        // SAFETY: a live block.
        unsafe { libc::malloc_usable_size(ptr.cast_mut().cast()) }
    }

    static HOLDS: AtomicU8 = AtomicU8::new(UNKNOWN);
    const UNKNOWN: u8 = 0;
    const YES: u8 = 1;
    const NO: u8 = 2;

    /// Whether the malloc of this process has glibc's headers: another one may replace it.
    fn header_holds() -> bool {
        // SAFETY: malloc has no conditions; its blocks are live until they are freed here.
        let same = |size: usize| unsafe {
            let block = libc::malloc(size);
            let same = !block.is_null()
                && glibc_chunk::usable_size(block.cast()) == Some(libc::malloc_usable_size(block))
                && glibc_chunk::usable_size(block.cast()) >= Some(size);
            libc::free(block);
            same
        };
        // Only of glibc itself, and small blocks only: to free a mapped one would raise the size from which on the
        // program's own are mapped.
        is_glibcs(libc::malloc as *const c_void)
            && is_glibcs(libc::malloc_usable_size as *const c_void)
            && [1, 24, 25, 100, 1000].into_iter().all(same)
    }
}
