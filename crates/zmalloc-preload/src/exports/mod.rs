//! The names under which the program finds us. Each forwards in a line.

mod c;
#[cfg(any(feature = "jemalloc", feature = "mimalloc", feature = "snmalloc"))]
mod cxx;
mod mappings;
mod process;
