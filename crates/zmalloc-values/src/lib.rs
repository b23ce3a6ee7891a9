#![no_std]
#![doc = include_str!("../README.md")]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod collection;
pub mod dump;
mod element;
mod error;
pub mod hyperloglog;
pub mod intset;
mod memory;
pub mod object;
pub mod packed;
pub mod sds;
mod thresholds;

pub use collection::{Encoding, Hash, Inserted, List, Set, SortedSet};
pub use element::{Element, parse_integer};
pub use error::FormatError;
pub use hyperloglog::HyperLogLog;
pub use intset::Intset;
pub use memory::{Block, Counted, Global, Memory, OutOfMemory};
pub use object::{Kind, Object, Value};
pub use packed::{Listpack, Packed, Position, Ziplist};
pub use sds::Sds;
pub use thresholds::Thresholds;
