//! A document store in memory, for tenants of whom each has a budget.

pub mod client;
pub mod server;
pub mod tenants;
