//! The malloc family interposed, so that an unmodified program's heap is counted: `libzmalloc_preload.so`.
//!
//! Preloaded (`LD_PRELOAD`), it takes every call of the family, has the allocator beneath do it, and counts it in the
//! ledger, which lies in a file that other processes read: [`Segment`](zmalloc::ledger::Segment).
//!
//! - **Beneath** is the allocator that the program has anyway: its own shared one, one preloaded after this library,
//!   or the C library's. `ZMALLOC_BACKEND=libc` in the environment takes the C library's in any case. Built with a
//!   feature `jemalloc`, `mimalloc` or `snmalloc`, it is that one. What a call does at its edges, like `realloc(p, 0)`,
//!   is what the allocator beneath does.
//! - **Charged** are usable bytes: `malloc_usable_size` of every live block.
//! - **Published** in the directory named by `ZMALLOC_SESSION` (an absolute path), one file for each process image.
//!   Without it, or when that fails in any way, the library counts in private memory and stays silent: it is never in
//!   the way.
//! - **Mapped** is counted apart: private anonymous memory that the program itself maps and may access; see `mapped`.
//!
//! Not seen: programs that are linked statically or bring their own `malloc` (the segment says so, see
//! [`Notes`](zmalloc::ledger::Notes)), set-user-ID programs, and memory taken by system calls past the C library.
//! A child made by a bare `clone` system call without shared memory goes on counting into its parent's segment, as no
//! handler runs for it. A fork while other threads allocate copies their sums as of a few microseconds before the fork.
#![cfg_attr(test, allow(dead_code, reason = "the unit tests leave the process's malloc alone"))]

#[cfg(not(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64")))]
compile_error!("zmalloc-preload: it interposes glibc's functions, so it is built for 64-bit Linux with glibc");

#[cfg(any(
    all(feature = "jemalloc", feature = "mimalloc"),
    all(feature = "jemalloc", feature = "snmalloc"),
    all(feature = "mimalloc", feature = "snmalloc"),
))]
compile_error!(
    "zmalloc-preload: the features `jemalloc`, `mimalloc` and `snmalloc` each build one allocator in, so they exclude \
     each other; enable one of them, or none to forward to the allocator that the program has"
);

mod arena;
mod at_limit;
mod beneath;
mod end;
mod environment;
mod errno;
#[cfg(not(test))]
mod exports;
mod fork;
mod global;
mod mapped;
mod object;
mod real;
mod requests;
mod session;
mod start;
mod tree;
