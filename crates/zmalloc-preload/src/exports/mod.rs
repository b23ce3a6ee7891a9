//! The names under which the program finds us. Each forwards in a line.

mod c;
#[cfg(any(feature = "jemalloc", feature = "mimalloc", feature = "snmalloc"))]
mod cxx;
mod exec;
mod mappings;
mod process;

/// Finds what must not be looked for later, while starting.
pub(crate) fn find() {
    exec::find();
    process::find();
}
