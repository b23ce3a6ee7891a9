//! The heap a program uses: a backend, counted.

mod counted;
mod global;
mod live;
mod oom;
mod raw;

pub use live::is_global_allocator;
pub use oom::{OomHandler, set_oom_handler};
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
