//! The library's own files, over loom's atomics.

#[path = "../../../zmalloc/src/scope/rest.rs"]
pub mod rest;
