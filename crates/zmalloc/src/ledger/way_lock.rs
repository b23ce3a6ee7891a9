//! The ledger's last way: every thread counts in one shared slot behind one lock. For targets without 64-bit atomics.
//!
//! A signal handler that allocates while it interrupts a thread inside the lock would wait for ever, as it would in
//! most allocators; the two faster ways do not have that.

use super::slot::SingleWriter;
use super::sync::Ordering;
use super::{Detail, Details, Pool, Totals, fork, pool};

/// Counts a block given out.
pub fn charge<D: Detail>(requested: usize, charged: usize) {
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
    pool().with_lock(|pool| {
        D::credit::<SingleWriter>(pool.shared(), requested, charged);
        pool.shared().credit_shared(charged);
    });
}

/// As [`charge`], which every thread can.
pub fn try_charge<D: Detail>(requested: usize, charged: usize) -> bool {
    charge::<D>(requested, charged);
    true
}

/// Nothing: see [`try_charge`].
pub fn finish_charge<D: Detail>(_: usize, _: usize) {}

/// As [`credit`], which every thread can.
pub fn try_credit<D: Detail>(requested: usize, charged: usize) -> bool {
    credit::<D>(requested, charged);
    true
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
