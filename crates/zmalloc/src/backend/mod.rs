//! The allocators beneath, behind one contract.
//!
//! A [`Backend`] hands out blocks and tells, for every block it gives or takes back, the bytes to charge for it. The
//! ledger adds those up; it never asks a second time. One file per allocator:
//!
//! | type | feature | allocator | the charge is known from |
//! |---|---|---|---|
//! | `Jemalloc` | `jemalloc` | jemalloc, bundled | its own counters, or a formula |
//! | `Mimalloc` | `mimalloc` | mimalloc, bundled | a table up to 1 KiB, a look-up beyond |
//! | `Snmalloc` | `snmalloc` | snmalloc, bundled | a formula |
//! | `Tcmalloc` | `tcmalloc` | gperftools' tcmalloc, of the system | a table up to 1 KiB, a look-up beyond |
//! | `Apple` | (on Apple's systems) | the system's | a look-up |
//! | [`Libc`] | | the C library's | a look-up |
//! | [`SizePrefix`] | | any other, behind [`PlainAllocator`] | a header before the block |

use core::alloc::Layout;

#[cfg(any(target_vendor = "apple", feature = "apple-stand-in"))]
mod apple;
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
pub use jemalloc::Jemalloc;
pub use libc::Libc;
#[cfg(feature = "mimalloc")]
pub use mimalloc::Mimalloc;
pub use size_prefix::{PlainAllocator, PlainLibc, SizePrefix};
#[cfg(feature = "snmalloc")]
pub use snmalloc::Snmalloc;
#[cfg(feature = "tcmalloc")]
pub use tcmalloc::Tcmalloc;
pub use version::Version;

/// A block that a backend just handed out.
#[derive(Clone, Copy, Debug)]
pub struct Allocation {
    /// The block, or null if the backend refused.
    pub ptr: *mut u8,
    /// The bytes to charge for it: its usable size, or with [`SizePrefix`] header and size. 0 if `ptr` is null.
    pub charged: usize,
}

/// A block that a backend just resized, perhaps by moving it.
#[derive(Clone, Copy, Debug)]
pub struct Reallocation {
    /// The block, or null if the backend refused; then the old block is untouched and still owned by the caller.
    pub ptr: *mut u8,
    /// The bytes to credit for the old block. 0 if `ptr` is null.
    pub credited: usize,
    /// The bytes to charge for the new block. 0 if `ptr` is null.
    pub charged: usize,
}

impl Allocation {
    /// The answer of a backend that refused.
    pub const REFUSED: Allocation = Allocation { ptr: core::ptr::null_mut(), charged: 0 };
}

impl Reallocation {
    /// The answer of a backend that refused.
    pub const REFUSED: Reallocation = Reallocation { ptr: core::ptr::null_mut(), credited: 0, charged: 0 };
}

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
/// Two faces: one by [`Layout`], as Rust calls it, one by size alone, as C does. A block belongs to the face that made
/// it only by alignment: [`free`](Backend::free) takes back a block of either face.
///
/// Every operation says what it charged. The sum of what was charged minus what was credited is, at rest, the bytes
/// the program holds, so for each block the credit must equal the charge to the byte, whatever happened in between.
///
/// # Safety
///
/// An implementation promises, in addition to the rules of [`core::alloc::GlobalAlloc`]:
///
/// 1. `charged` of a block is exactly what its later `deallocate`, `free`, or `reallocate`/`realloc` credits.
/// 2. A refusal is a null pointer, leaves every block as it was, and never unwinds.
/// 3. No operation calls back into a [`Zmalloc`](crate::Zmalloc) or the ledger.
/// 4. If [`thread_counters`](Backend::thread_counters) answers, both addresses stay readable until the calling thread
///    is gone, only that thread writes them, and their difference over all threads is the sum of the charges.
pub unsafe trait Backend: Copy + Send + Sync + 'static {
    /// The allocator's name as its users write it, like `jemalloc`.
    const NAME: &'static str;

    /// Whether [`thread_counters`](Backend::thread_counters) may answer, so that nothing has to be counted per call.
    const COUNTS_PER_THREAD: bool = false;

    /// The version of the allocator that is really linked or loaded.
    fn version() -> Version;

    /// Allocates a block for `layout`.
    ///
    /// # Safety
    /// `layout` has a size above 0.
    unsafe fn allocate(layout: Layout) -> Allocation;

    /// As [`allocate`](Backend::allocate), filled with zeros.
    ///
    /// # Safety
    /// As [`allocate`](Backend::allocate).
    unsafe fn allocate_zeroed(layout: Layout) -> Allocation;

    /// Takes a block back; answers the bytes to credit.
    ///
    /// # Safety
    /// 1. `ptr` is a live block of this backend. 2. `layout` is the one it was last given or resized to.
    unsafe fn deallocate(ptr: *mut u8, layout: Layout) -> usize;

    /// Resizes a block to `new_size`, keeping its alignment and its first bytes.
    ///
    /// # Safety
    /// 1. As [`deallocate`](Backend::deallocate).
    /// 2. `new_size` is above 0 and, rounded up to the alignment, fits `isize`.
    unsafe fn reallocate(ptr: *mut u8, layout: Layout, new_size: usize) -> Reallocation;

    /// C's `malloc`.
    ///
    /// # Safety
    /// None of its own; unsafe because the block is raw memory.
    unsafe fn malloc(size: usize) -> Allocation;

    /// C's `calloc(1, size)`.
    ///
    /// # Safety
    /// None of its own; unsafe because the block is raw memory.
    unsafe fn calloc(size: usize) -> Allocation;

    /// C's `aligned_alloc`, for any power of two and any size.
    ///
    /// # Safety
    /// `alignment` is a power of two.
    unsafe fn malloc_aligned(alignment: usize, size: usize) -> Allocation;

    /// C's `realloc` of a block that is not null to a size that is not 0.
    ///
    /// # Safety
    /// 1. `ptr` is a live block of this backend. 2. `size > 0`.
    unsafe fn realloc(ptr: *mut u8, size: usize) -> Reallocation;

    /// C's `free` of a block that is not null; answers the bytes to credit.
    ///
    /// # Safety
    /// `ptr` is a live block of this backend.
    unsafe fn free(ptr: *mut u8) -> usize;

    /// The bytes a program may use of a block: at least what it asked for.
    ///
    /// # Safety
    /// `ptr` is a live block of this backend.
    unsafe fn usable_size(ptr: *const u8) -> usize;

    /// The bytes charged for a block. The usable size, unless the backend says otherwise.
    ///
    /// # Safety
    /// `ptr` is a live block of this backend.
    unsafe fn charged_size(ptr: *const u8) -> usize {
        // SAFETY: the caller's contract is the callee's.
        unsafe { Self::usable_size(ptr) }
    }

    /// As [`allocate`](Backend::allocate), where the allocator counts and nobody asks for the charge.
    ///
    /// # Safety
    /// As [`allocate`](Backend::allocate).
    #[inline(always)]
    unsafe fn allocate_uncounted(layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is the callee's.
        unsafe { Self::allocate(layout) }.ptr
    }

    /// As [`allocate_zeroed`](Backend::allocate_zeroed), without the charge.
    ///
    /// # Safety
    /// As [`allocate_zeroed`](Backend::allocate_zeroed).
    #[inline(always)]
    unsafe fn allocate_zeroed_uncounted(layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is the callee's.
        unsafe { Self::allocate_zeroed(layout) }.ptr
    }

    /// As [`deallocate`](Backend::deallocate), without the credit.
    ///
    /// # Safety
    /// As [`deallocate`](Backend::deallocate).
    #[inline(always)]
    unsafe fn deallocate_uncounted(ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the callee's.
        unsafe { Self::deallocate(ptr, layout) };
    }

    /// As [`reallocate`](Backend::reallocate), without credit and charge.
    ///
    /// # Safety
    /// As [`reallocate`](Backend::reallocate).
    #[inline(always)]
    unsafe fn reallocate_uncounted(ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's contract is the callee's.
        unsafe { Self::reallocate(ptr, layout, new_size) }.ptr
    }

    /// As [`malloc`](Backend::malloc), without the charge.
    ///
    /// # Safety
    /// As [`malloc`](Backend::malloc).
    #[inline(always)]
    unsafe fn malloc_uncounted(size: usize) -> *mut u8 {
        // SAFETY: the caller's contract is the callee's.
        unsafe { Self::malloc(size) }.ptr
    }

    /// As [`calloc`](Backend::calloc), without the charge.
    ///
    /// # Safety
    /// As [`calloc`](Backend::calloc).
    #[inline(always)]
    unsafe fn calloc_uncounted(size: usize) -> *mut u8 {
        // SAFETY: the caller's contract is the callee's.
        unsafe { Self::calloc(size) }.ptr
    }

    /// As [`malloc_aligned`](Backend::malloc_aligned), without the charge.
    ///
    /// # Safety
    /// As [`malloc_aligned`](Backend::malloc_aligned).
    #[inline(always)]
    unsafe fn malloc_aligned_uncounted(alignment: usize, size: usize) -> *mut u8 {
        // SAFETY: the caller's contract is the callee's.
        unsafe { Self::malloc_aligned(alignment, size) }.ptr
    }

    /// As [`realloc`](Backend::realloc), without credit and charge.
    ///
    /// # Safety
    /// As [`realloc`](Backend::realloc).
    #[inline(always)]
    unsafe fn realloc_uncounted(ptr: *mut u8, size: usize) -> *mut u8 {
        // SAFETY: the caller's contract is the callee's.
        unsafe { Self::realloc(ptr, size) }.ptr
    }

    /// As [`free`](Backend::free), without the credit.
    ///
    /// # Safety
    /// As [`free`](Backend::free).
    #[inline(always)]
    unsafe fn free_uncounted(ptr: *mut u8) {
        // SAFETY: the caller's contract is the callee's.
        unsafe { Self::free(ptr) };
    }

    /// The allocator's own exact counters of the calling thread, if it keeps any.
    fn thread_counters() -> Option<ThreadCounters> {
        None
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
