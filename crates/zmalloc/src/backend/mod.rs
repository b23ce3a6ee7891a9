//! The allocators beneath, behind one contract.
//!
//! A [`Backend`] hands out blocks, takes them back, and tells the bytes to charge for each. One file per allocator:
//!
//! | type | feature | allocator | the charge is known from |
//! |---|---|---|---|
//! | `Jemalloc` | `jemalloc` | jemalloc, bundled | its own counters, or a formula |
//! | `Mimalloc` | `mimalloc` | mimalloc, bundled | a table up to 8 KiB, a look-up beyond |
//! | `Snmalloc` | `snmalloc` | snmalloc, bundled | a formula |
//! | `Tcmalloc` | `tcmalloc` | gperftools' tcmalloc, of the system | a table up to 8 KiB, a look-up beyond |
//! | `Apple` | (on Apple's systems) | the system's | a look-up |
//! | [`Libc`] | | the C library's | the chunk header, or a look-up |
//! | [`SizePrefix`] | | any other, behind [`PlainAllocator`] | the layout, or a header before the block |
//!
//! A child that is forked while other threads allocate may allocate too, but over mimalloc and snmalloc: these do not
//! prepare for a fork, and it may wait for ever.

use core::alloc::Layout;

#[cfg(any(target_vendor = "apple", feature = "apple-stand-in"))]
mod apple;
mod c_calls;
#[cfg(target_arch = "x86_64")]
#[doc(hidden)]
pub mod glibc_chunk;
#[cfg(feature = "jemalloc")]
mod jemalloc;
mod libc;
#[cfg(feature = "mimalloc")]
mod mimalloc;
mod size_prefix;
#[cfg(any(feature = "mimalloc", feature = "tcmalloc"))]
mod size_table;
#[cfg(feature = "snmalloc")]
mod snmalloc;
#[cfg(feature = "tcmalloc")]
mod tcmalloc;
mod version;

#[cfg(any(target_vendor = "apple", feature = "apple-stand-in"))]
pub use apple::Apple;
#[cfg(feature = "jemalloc")]
pub use jemalloc::{Arena, ArenaStatistics, Jemalloc};
pub use libc::Libc;
#[cfg(feature = "mimalloc")]
pub use mimalloc::Mimalloc;
pub use size_prefix::{PlainAllocator, PlainLibc, SizePrefix};
#[cfg(feature = "snmalloc")]
pub use snmalloc::Snmalloc;
#[cfg(feature = "tcmalloc")]
pub use tcmalloc::Tcmalloc;
pub use version::Version;

/// Where an allocator keeps its own exact byte counts of the calling thread.
#[derive(Clone, Copy, Debug)]
pub struct ThreadCounters {
    /// Usable bytes this thread ever allocated. Only grows.
    pub allocated: *const u64,
    /// Usable bytes this thread ever freed. Only grows.
    pub freed: *const u64,
}

/// What the allocator itself says about its pages, in bytes. A figure it does not know is `None`.
///
/// Order, where all are known: `allocated <= active <= resident`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Statistics {
    /// Bytes in blocks it has handed out; for jemalloc also those in thread caches.
    pub allocated: Option<usize>,
    /// Bytes in pages that hold at least one block.
    pub active: Option<usize>,
    /// Bytes in pages in RAM: active, metadata, and dirty pages not yet returned.
    pub resident: Option<usize>,
    /// Bytes of address space kept for later, without RAM behind.
    pub retained: Option<usize>,
    /// Bytes in pages given back lazily (`MADV_FREE`): the kernel may take them at any time.
    pub muzzy: Option<usize>,
}

/// An allocator beneath the ledger.
///
/// Two faces: one by [`Layout`], as Rust calls it, one by size alone, as C does. A block of either face may be asked for
/// its size, and freed, by address alone.
///
/// The ledger asks for the charge of each block when it has been given out and before it is taken back or resized. The
/// sum of the charges is, at rest, the bytes the program holds, so a block has one charge as long as it lives,
/// however it is asked for.
///
/// # Safety
///
/// An implementation promises, in addition to the rules of [`core::alloc::GlobalAlloc`]:
///
/// 1. [`charged_size`](Backend::charged_size), [`charged_size_of`](Backend::charged_size_of), and
///    [`charged_at_hand`](Backend::charged_at_hand) and [`charge_ahead`](Backend::charge_ahead), where they answer, tell
///    the same for a block, from when it is given out or resized until it is taken back or resized.
/// 2. A refusal is a null pointer, leaves every block as it was, and never unwinds.
/// 3. No operation calls back into a [`Zmalloc`](crate::Zmalloc) or the ledger.
/// 4. If [`thread_counters`](Backend::thread_counters) answers, both addresses stay readable until the calling thread
///    is gone, only that thread writes them, and their difference over all threads is the sum of the charges.
/// 5. What the constants say is so.
/// 6. At most one backend of a process answers [`thread_counters`](Backend::thread_counters): the ledger keeps one flag
///    per thread, whether the backend counts, and does not ask which.
pub unsafe trait Backend: Copy + Send + Sync + 'static {
    /// The allocator's name as its users write it, like `jemalloc`.
    const NAME: &'static str;

    /// Whether [`thread_counters`](Backend::thread_counters) may answer, so that nothing has to be counted per call.
    const COUNTS_PER_THREAD: bool = false;

    /// Whether C's corners need no care: [`malloc`](Backend::malloc) and [`calloc`](Backend::calloc) give a block for
    /// size 0, they and [`realloc`](Backend::realloc) refuse half of the address space and more, and
    /// [`free`](Backend::free) ignores null.
    const HANDLES_CORNERS: bool = false;

    /// Whether a block's charge is its usable size.
    const CHARGES_USABLE_SIZE: bool = true;
    /// Whether [`charge_ahead`](Backend::charge_ahead) may answer.
    const CHARGES_AHEAD: bool = false;

    /// The version of the allocator that is really linked or loaded.
    fn version() -> Version;

    /// Allocates a block for `layout`, or answers null.
    ///
    /// # Safety
    /// `layout` has a size above 0.
    unsafe fn allocate(layout: Layout) -> *mut u8;

    /// As [`allocate`](Backend::allocate), filled with zeros.
    ///
    /// # Safety
    /// As [`allocate`](Backend::allocate).
    unsafe fn allocate_zeroed(layout: Layout) -> *mut u8;

    /// Takes a block back.
    ///
    /// # Safety
    /// 1. `ptr` is a live block of this backend. 2. `layout` is the one it was last given or resized to.
    unsafe fn deallocate(ptr: *mut u8, layout: Layout);

    /// Resizes a block to `new_size`, keeping its alignment and its first bytes; or answers null and leaves it as it is.
    ///
    /// # Safety
    /// 1. As [`deallocate`](Backend::deallocate).
    /// 2. `new_size` is above 0 and, rounded up to the alignment, fits `isize`.
    unsafe fn reallocate(ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8;

    /// C's `malloc`.
    ///
    /// # Safety
    /// None of its own; unsafe because the block is raw memory.
    unsafe fn malloc(size: usize) -> *mut u8;

    /// C's `calloc(1, size)`.
    ///
    /// # Safety
    /// None of its own; unsafe because the block is raw memory.
    unsafe fn calloc(size: usize) -> *mut u8;

    /// C's `aligned_alloc`, for any power of two and any size.
    ///
    /// # Safety
    /// `alignment` is a power of two.
    unsafe fn malloc_aligned(alignment: usize, size: usize) -> *mut u8;

    /// C's `realloc` of a block that is not null to a size that is not 0.
    ///
    /// # Safety
    /// 1. `ptr` is a live block of this backend. 2. `size > 0`.
    unsafe fn realloc(ptr: *mut u8, size: usize) -> *mut u8;

    /// C's `free` of a block that is not null.
    ///
    /// # Safety
    /// `ptr` is a live block of this backend.
    unsafe fn free(ptr: *mut u8);

    /// As [`free`](Backend::free), where the block's charge is at hand and may spare a look-up.
    ///
    /// # Safety
    /// 1. As [`free`](Backend::free). 2. `charged` is the block's charge.
    #[inline(always)]
    unsafe fn free_charged(ptr: *mut u8, charged: usize) {
        let _ = charged;
        // SAFETY: the caller's contract is the callee's.
        unsafe { Self::free(ptr) }
    }

    /// The bytes a program may use of a block: at least what it asked for.
    ///
    /// # Safety
    /// `ptr` is a live block of this backend.
    unsafe fn usable_size(ptr: *const u8) -> usize;

    /// The bytes to charge for a block: its usable size, unless the backend says otherwise.
    ///
    /// # Safety
    /// `ptr` is a live block of this backend.
    #[inline(always)]
    unsafe fn charged_size(ptr: *const u8) -> usize {
        // SAFETY: the caller's contract is the callee's.
        unsafe { Self::usable_size(ptr) }
    }

    /// As [`charged_size`](Backend::charged_size), for a block whose layout may tell without a look at the block.
    ///
    /// # Safety
    /// 1. `ptr` is a live block of this backend, made or last resized by layout. 2. `layout` is that layout.
    #[inline(always)]
    unsafe fn charged_size_of(ptr: *const u8, layout: Layout) -> usize {
        let _ = layout;
        // SAFETY: the caller's contract is the callee's.
        unsafe { Self::charged_size(ptr) }
    }

    /// As [`charged_size_of`](Backend::charged_size_of), or `None` if telling would take a call: where the usual block
    /// takes none, a free of it needs no stack frame.
    ///
    /// # Safety
    /// As [`charged_size_of`](Backend::charged_size_of).
    #[inline(always)]
    unsafe fn charged_at_hand(ptr: *const u8, layout: Layout) -> Option<usize> {
        // SAFETY: the caller's contract is the callee's.
        Some(unsafe { Self::charged_size_of(ptr, layout) })
    }

    /// The charge of a block that would be given out for a layout, where the layout alone tells it and it is at hand:
    /// then all that has to be kept across the call is that number.
    #[inline(always)]
    fn charge_ahead(layout: Layout) -> Option<usize> {
        let _ = layout;
        None
    }

    /// The most that a block of this size and alignment is charged: how much has to be left under a limit to resize one to
    /// it. 0 for what is refused anyway.
    fn charge_at_most(size: usize, alignment: usize) -> usize {
        // Size classes are at most a quarter larger, large blocks are rounded to a few pages.
        size.saturating_add(size / 4).saturating_add(alignment).saturating_add(64 << 10)
    }

    /// The allocator's own exact counters of the calling thread, if it keeps any.
    fn thread_counters() -> Option<ThreadCounters> {
        None
    }

    /// Has the allocator call `look`, with what the calling thread's counter of allocated bytes says, on every thread
    /// each time that thread has allocated another `interval` bytes. False if it does not offer that. `look` neither allocates nor
    /// unwinds.
    fn on_thread_allocated(interval: u64, look: extern "C" fn(allocated: u64)) -> bool {
        let _ = (interval, look);
        false
    }

    /// The allocator's own page figures. Reading them may take microseconds and a lock of the allocator's.
    fn statistics() -> Statistics {
        Statistics::default()
    }

    /// Gives unused pages back to the kernel. True if the allocator offers that and it worked.
    fn purge() -> bool {
        false
    }
}
