//! The ledger's middle way: every thread counts in one shared slot, with atomic additions. For targets without cheap
//! thread-locals, and to compare.

use super::guard::with_pool;
use super::slot::SharedWriter;
use super::sync::Ordering;
use super::{Detail, Details, Totals, peak, pool};

/// Counts a block given out.
#[inline]
pub fn charge<D: Detail>(requested: usize, charged: usize) {
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
    let shared = pool().shared();
    D::credit::<SharedWriter>(shared, requested, charged);
    shared.credit_shared(charged);
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
    // Only a signal handler that interrupted another reading finds it closed.
    with_pool(|pool| pool.totals()).unwrap_or_default()
}

pub(crate) fn peak() -> u64 {
    peak::record(pool(), totals().live_bytes())
}

pub(crate) fn details() -> Details {
    pool().details()
}
