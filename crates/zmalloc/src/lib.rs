#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod backend;
pub mod heap;
pub mod ledger;
pub mod process;
pub mod report;

pub use heap::{DefaultBackend, OomHandler, UsableBlock, Zmalloc, is_global_allocator, set_oom_handler};
pub use ledger::{peak_memory, totals, used_memory};
pub use report::Report;
