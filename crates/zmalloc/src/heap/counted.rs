//! The three events of a block's life, each counted in one place.
//!
//! Every operation comes in two forms: `plain`, for a backend that counts by itself, and `told`, which answers what to
//! count. Over a backend that counts per thread, the usual path is one test and then a tail call into the backend.

use crate::backend::{Allocation, Backend, Reallocation};
use crate::ledger::{self, Detail};

/// Counts an allocation. `requested` says, from the charge, how many bytes to count as requested.
#[inline(always)]
pub(super) fn allocation<B: Backend, D: Detail>(
    requested: impl FnOnce(usize) -> usize,
    plain: impl FnOnce() -> *mut u8,
    told: impl FnOnce() -> Allocation,
) -> *mut u8 {
    if may_count::<B, D>() {
        return if ledger::backend_counts() { plain() } else { cold::allocation::<B>(told) };
    }
    let block = told();
    if !block.ptr.is_null() {
        ledger::charge::<D>(requested(block.charged), block.charged);
    }
    block.ptr
}

/// Counts a free. `requested` says, from the credit, how many bytes were counted as requested.
#[inline(always)]
pub(super) fn free<B: Backend, D: Detail>(
    requested: impl FnOnce(usize) -> usize,
    plain: impl FnOnce(),
    told: impl FnOnce() -> usize,
) {
    if may_count::<B, D>() {
        return if ledger::backend_counts() { plain() } else { cold::free::<B>(told) };
    }
    let credited = told();
    ledger::credit::<D>(requested(credited), credited);
}

/// Counts a resize. `requested_before` and `requested` are as in [`free`] and [`allocation`].
#[inline(always)]
pub(super) fn reallocation<B: Backend, D: Detail>(
    requested_before: impl FnOnce(usize) -> usize,
    requested: impl FnOnce(usize) -> usize,
    plain: impl FnOnce() -> *mut u8,
    told: impl FnOnce() -> Reallocation,
) -> *mut u8 {
    if may_count::<B, D>() {
        return if ledger::backend_counts() { plain() } else { cold::reallocation::<B>(told) };
    }
    let block = told();
    if !block.ptr.is_null() {
        ledger::credit::<D>(requested_before(block.credited), block.credited);
        ledger::charge::<D>(requested(block.charged), block.charged);
    }
    block.ptr
}

/// Whether the backend's own counters may be the ledger.
const fn may_count<B: Backend, D: Detail>() -> bool {
    cfg!(ledger_slots) && B::COUNTS_PER_THREAD && D::TOTALS_ONLY
}

/// Where a backend that counts per thread does not, or not yet.
mod cold {
    use super::{Allocation, Backend, Reallocation, ledger};
    use crate::ledger::{Counting, TotalsOnly};

    #[cold]
    #[inline(never)]
    pub(super) fn allocation<B: Backend>(told: impl FnOnce() -> Allocation) -> *mut u8 {
        let counting = ledger::begin_backend::<B>();
        let block = told();
        if counting == Counting::Ledger && !block.ptr.is_null() {
            ledger::charge::<TotalsOnly>(0, block.charged);
        }
        block.ptr
    }

    #[cold]
    #[inline(never)]
    pub(super) fn free<B: Backend>(told: impl FnOnce() -> usize) {
        let counting = ledger::begin_backend::<B>();
        let credited = told();
        if counting == Counting::Ledger {
            ledger::credit::<TotalsOnly>(0, credited);
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn reallocation<B: Backend>(told: impl FnOnce() -> Reallocation) -> *mut u8 {
        let counting = ledger::begin_backend::<B>();
        let block = told();
        if counting == Counting::Ledger && !block.ptr.is_null() {
            ledger::credit::<TotalsOnly>(0, block.credited);
            ledger::charge::<TotalsOnly>(0, block.charged);
        }
        block.ptr
    }
}
