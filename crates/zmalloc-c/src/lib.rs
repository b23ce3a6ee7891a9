//! libzmalloc: the C face of zmalloc. Each exported symbol forwards to the library in a line or two; what each one does
//! stands in `include/zmalloc.h`.

// One name per backend, so that a build without one, or with two, says so.
#[cfg(any(
    not(any(
        feature = "jemalloc",
        feature = "mimalloc",
        feature = "snmalloc",
        feature = "tcmalloc",
        feature = "libc-malloc",
        feature = "size-prefix"
    )),
    all(feature = "jemalloc", feature = "mimalloc"),
    all(feature = "jemalloc", feature = "snmalloc"),
    all(feature = "jemalloc", feature = "tcmalloc"),
    all(feature = "jemalloc", feature = "libc-malloc"),
    all(feature = "jemalloc", feature = "size-prefix"),
    all(feature = "mimalloc", feature = "snmalloc"),
    all(feature = "mimalloc", feature = "tcmalloc"),
    all(feature = "mimalloc", feature = "libc-malloc"),
    all(feature = "mimalloc", feature = "size-prefix"),
    all(feature = "snmalloc", feature = "tcmalloc"),
    all(feature = "snmalloc", feature = "libc-malloc"),
    all(feature = "snmalloc", feature = "size-prefix"),
    all(feature = "tcmalloc", feature = "libc-malloc"),
    all(feature = "tcmalloc", feature = "size-prefix"),
    all(feature = "libc-malloc", feature = "size-prefix"),
))]
compile_error!(
    "zmalloc-c: the library lies over exactly one allocator; choose it with `--no-default-features --features NAME`, \
     where NAME is jemalloc, mimalloc, snmalloc, tcmalloc, libc-malloc or size-prefix"
);

#[macro_use]
mod export;
mod allocate;
mod allocator;
mod backend;
mod budget;
mod defragment;
mod figures;
mod flags;
mod free;
#[cfg(feature = "jemalloc")]
mod jemalloc;
mod out;
mod out_of_memory;
mod reclaim;
mod report;
mod resize;
#[cfg(target_has_atomic = "64")]
mod scope;
#[cfg(target_has_atomic = "64")]
mod scope_figures;
mod size;
mod system;
#[cfg(not(symbol_prefix))]
mod valkey;
mod watch;

/// The heap that every call uses.
static HEAP: zmalloc::Zmalloc<backend::Chosen> = zmalloc::Zmalloc::new();
