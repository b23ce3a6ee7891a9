//! The ledger's last way: every thread counts in one shared slot behind one lock. For targets without 64-bit atomics.
//!
//! A signal handler that allocates while it interrupts a thread inside the lock would wait for ever, as it would in
//! most allocators; the two faster ways do not have that.

use super::slot::SingleWriter;
use super::sync::Ordering;
pub(crate) use super::thread_sums::totals as thread_totals;
use super::{Detail, Details, Pool, Totals, fork, pool, thread_sums};

/// Counts a block given out.
pub fn charge<D: Detail>(requested: usize, charged: usize) {
    thread_sums::charge(charged);
    fork::watch();
    pool().with_lock(|pool| {
        D::charge::<SingleWriter>(pool.shared(), requested, charged);
        pool.shared().charge_shared(charged);
        let live = pool.shared().live().max(0) as u64;
        pool.peak().fetch_max(live, Ordering::Relaxed);
    });
}

/// Counts a block taken back.
pub fn credit<D: Detail>(requested: usize, charged: usize) {
    thread_sums::credit(charged);
    pool().with_lock(|pool| {
        D::credit::<SingleWriter>(pool.shared(), requested, charged);
        pool.shared().credit_shared(charged);
    });
}

pub(crate) fn totals() -> Totals {
    fork::watch();
    pool().totals()
}

pub(crate) fn peak() -> u64 {
    pool().with_lock(|pool| pool.peak().load(Ordering::Relaxed))
}

pub(crate) fn details() -> Details {
    pool().with_lock(Pool::details)
}
