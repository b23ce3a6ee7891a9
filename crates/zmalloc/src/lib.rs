#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod backend;
pub mod budget;
pub mod heap;
pub mod ledger;
mod owner;
pub mod process;
#[cfg(all(unix, target_has_atomic = "64"))]
pub mod publish;
pub mod report;
#[cfg(target_has_atomic = "64")]
pub mod scope;

pub use heap::{DefaultBackend, OomHandler, UsableBlock, Zmalloc, is_global_allocator, out_of_memory, set_oom_handler};
pub use ledger::{peak_memory, totals, used_memory};
pub use report::Report;
#[cfg(target_has_atomic = "64")]
pub use scope::Scope;
