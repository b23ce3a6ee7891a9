//! The allocator that this build lies over.

use zmalloc::backend;

#[cfg(feature = "jemalloc")]
pub(crate) type Chosen = backend::Jemalloc;
#[cfg(all(feature = "mimalloc", not(feature = "jemalloc")))]
pub(crate) type Chosen = backend::Mimalloc;
#[cfg(all(feature = "snmalloc", not(any(feature = "jemalloc", feature = "mimalloc"))))]
pub(crate) type Chosen = backend::Snmalloc;
#[cfg(all(feature = "tcmalloc", not(any(feature = "jemalloc", feature = "mimalloc", feature = "snmalloc"))))]
pub(crate) type Chosen = backend::Tcmalloc;
#[cfg(not(any(
    feature = "jemalloc",
    feature = "mimalloc",
    feature = "snmalloc",
    feature = "tcmalloc",
    feature = "size-prefix"
)))]
pub(crate) type Chosen = backend::Libc;
#[cfg(all(
    feature = "size-prefix",
    not(any(feature = "jemalloc", feature = "mimalloc", feature = "snmalloc", feature = "tcmalloc"))
))]
pub(crate) type Chosen = backend::SizePrefix<backend::PlainLibc>;
