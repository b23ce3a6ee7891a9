#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod builder;
mod deadline;
mod entry;
mod ghost;
mod index;
mod keyspace;
mod log;
mod policy;
mod shard;
mod slab;
mod stats;
mod wheel;

pub use builder::{BuildError, Builder, MAX_MEMORY_MIN};
pub use keyspace::{Cursor, Keyspace, WriteError};
pub use policy::{Policy, UnknownPolicy};
pub use shard::ValueRef;
pub use stats::{PrefixStats, Stats};
