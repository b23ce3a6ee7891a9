//! The ledger's middle way: every thread counts in one shared slot, with atomic additions. To compare, and
//! where slots cannot be had; scopes add a thread-local sum.

use super::guard::with_pool;
use super::slot::SharedWriter;
use super::sync::Ordering;
pub(crate) use super::thread_sums::totals as thread_totals;
use super::{Detail, Details, Totals, peak, pool, thread_sums};

/// Counts a block given out.
#[inline]
pub fn charge<D: Detail>(requested: usize, charged: usize) {
    thread_sums::charge(charged);
    let shared = pool().shared();
    D::charge::<SharedWriter>(shared, requested, charged);
    shared.charge_shared(charged);
    let live = shared.live();
    if live > pool().peak().load(Ordering::Relaxed) as i64 {
        pool().peak().fetch_max(live as u64, Ordering::Relaxed);
    }
}

/// Counts a block taken back.
#[inline]
pub fn credit<D: Detail>(requested: usize, charged: usize) {
    thread_sums::credit(charged);
    let shared = pool().shared();
    D::credit::<SharedWriter>(shared, requested, charged);
    shared.credit_shared(charged);
}

pub(crate) fn totals() -> Totals {
    // Only a signal handler that interrupted another reading finds it closed.
    with_pool(|pool| pool.totals()).unwrap_or_default()
}

pub(crate) fn peak() -> u64 {
    peak::record(pool(), totals().live_bytes())
}

pub(crate) fn details() -> Details {
    pool().details()
}
