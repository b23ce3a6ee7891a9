//! The heap a program uses: a backend, counted.

mod asked;
mod counted;
#[cfg(feature = "jemalloc")]
mod extended;
mod global;
mod live;
mod oom;
mod owned;
mod raw;

#[cfg(feature = "jemalloc")]
pub use extended::Flags;
pub use live::is_global_allocator;
pub use oom::{OomHandler, out_of_memory, set_oom_handler};
pub use raw::UsableBlock;

use crate::backend::Backend;
use crate::ledger::{Detail, TotalsOnly};
use core::marker::PhantomData;

/// jemalloc, or without the feature `jemalloc` the C library's allocator.
#[cfg(feature = "jemalloc")]
pub type DefaultBackend = crate::backend::Jemalloc;
/// jemalloc, or without the feature `jemalloc` the C library's allocator.
#[cfg(not(feature = "jemalloc"))]
pub type DefaultBackend = crate::backend::Libc;

/// A heap over the backend `B`, counted with the detail `D`.
///
/// A value without size or state: every heap of a process counts into the one ledger of that process.
///
/// As the program's allocator:
///
/// ```
/// use zmalloc::Zmalloc;
///
/// #[global_allocator]
/// static HEAP: Zmalloc = Zmalloc::new();
///
/// let before = zmalloc::used_memory();
/// let list = vec![0u8; 1000];
/// assert!(zmalloc::used_memory() >= before + 1000);
/// drop(list);
/// assert_eq!(zmalloc::used_memory(), before);
/// ```
///
/// With more detail, or another backend:
///
/// ```
/// use zmalloc::{Zmalloc, backend::Libc, ledger::Detailed};
///
/// static HEAP: Zmalloc<Libc, Detailed> = Zmalloc::new();
/// let block = HEAP.malloc(100);
/// assert_eq!(zmalloc::ledger::details().blocks_live(), 1);
/// // SAFETY: the block was just allocated.
/// unsafe { HEAP.free(block) };
/// assert_eq!(zmalloc::used_memory(), 0);
/// ```
///
/// Cost over the bare backend: see the crate page.
pub struct Zmalloc<B = DefaultBackend, D = TotalsOnly>(PhantomData<(B, D)>);

impl<B: Backend, D: Detail> Zmalloc<B, D> {
    /// The heap; free, and fit for a static.
    pub const fn new() -> Self {
        Zmalloc(PhantomData)
    }
}

impl<B: Backend, D: Detail> Zmalloc<B, D> {
    /// Bounds the process's pages in RAM, or with `None` no longer; see [`Resident`](crate::budget::Resident).
    ///
    /// A thread of this library's looks at them each 100 ms, above the soft bound each 10 ms. Above the soft bound
    /// it has this backend give unused pages back, at most once a second, and the [level](crate::budget::Level) rises. Above
    /// the hard one it has that done each time, then asks [reclaimers](crate::budget::reclaimer), and allocations that would
    /// add to the counted bytes are refused until enough is freed. Below it, the counted bytes may rise until the
    /// next look by no more than what is left in RAM.
    ///
    /// So between two looks the bound is exceeded by at most what the program touches of pages that it had already allocated or
    /// mapped, or that fragmentation wastes of what is freed and allocated anew; pages that this backend does not know
    /// (stacks, files, other allocators) count, and cannot be given back. A bound below what the program is without its heap
    /// refuses everything.
    ///
    /// # Errors
    /// If a cgroup is to be followed that has no limit.
    pub fn bound_resident(&self, bound: Option<crate::budget::Resident>) -> Result<(), crate::budget::NoCgroupLimit> {
        crate::budget::bound(bound, B::purge)
    }
}

impl<B: Backend, D: Detail> Default for Zmalloc<B, D> {
    fn default() -> Self {
        Zmalloc::new()
    }
}

impl<B, D> Clone for Zmalloc<B, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B, D> Copy for Zmalloc<B, D> {}

impl<B: Backend, D> core::fmt::Debug for Zmalloc<B, D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Zmalloc({})", B::NAME)
    }
}
