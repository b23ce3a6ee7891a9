//! The three events of a block's life, each counted in one place.
//!
//! Over a backend that counts per thread, the usual path is one test and then a tail call into the backend.

use crate::backend::{Allocation, Backend, Reallocation};
use crate::ledger::{self, Detail};

#[cfg(ledger_slots)]
use crate::ledger::Counting;

/// Whether the backend's own counters are the ledger.
#[cfg(ledger_slots)]
const fn backend_counts<B: Backend, D: Detail>() -> bool {
    B::COUNTS_PER_THREAD && D::TOTALS_ONLY
}

/// Counts an allocation of `size` requested bytes. `plain` and `told` allocate the same block; `told` tells its charge.
#[inline(always)]
pub(super) fn allocation<B: Backend, D: Detail>(
    size: usize,
    plain: impl FnOnce() -> *mut u8,
    told: impl FnOnce() -> Allocation,
) -> *mut u8 {
    #[cfg(ledger_slots)]
    if backend_counts::<B, D>() {
        if ledger::backend_counts_allocation(size) {
            return plain();
        }
        return cold_allocation::<B, D>(size, plain, told);
    }
    #[cfg(not(ledger_slots))]
    let _ = plain;
    charge::<D>(size, told())
}

/// Counts a free. `plain` and `told` free the same block; `told` tells its credit.
#[inline(always)]
pub(super) fn free<B: Backend, D: Detail>(
    size: impl FnOnce(usize) -> usize,
    plain: impl FnOnce(),
    told: impl FnOnce() -> usize,
) {
    #[cfg(ledger_slots)]
    if backend_counts::<B, D>() {
        if ledger::backend_counts_free() {
            return plain();
        }
        return cold_free::<B, D>(size, plain, told);
    }
    #[cfg(not(ledger_slots))]
    let _ = plain;
    let credited = told();
    ledger::credit::<D>(size(credited), credited);
}

/// Counts a resize to `size` requested bytes. `plain` and `told` resize the same block; `told` tells both charges.
#[inline(always)]
pub(super) fn reallocation<B: Backend, D: Detail>(
    old_size: impl FnOnce(usize) -> usize,
    size: impl FnOnce(usize) -> usize,
    bound: usize,
    plain: impl FnOnce() -> *mut u8,
    told: impl FnOnce() -> Reallocation,
) -> *mut u8 {
    #[cfg(ledger_slots)]
    if backend_counts::<B, D>() {
        if ledger::backend_counts_allocation(bound) {
            return plain();
        }
        return cold_reallocation::<B, D>(old_size, size, plain, told);
    }
    #[cfg(not(ledger_slots))]
    let _ = (plain, bound);
    recharge::<D>(old_size, size, told())
}

#[inline(always)]
fn charge<D: Detail>(size: usize, block: Allocation) -> *mut u8 {
    if !block.ptr.is_null() {
        ledger::charge::<D>(size, block.charged);
    }
    block.ptr
}

#[inline(always)]
fn recharge<D: Detail>(
    old_size: impl FnOnce(usize) -> usize,
    size: impl FnOnce(usize) -> usize,
    block: Reallocation,
) -> *mut u8 {
    if !block.ptr.is_null() {
        ledger::credit::<D>(old_size(block.credited), block.credited);
        ledger::charge::<D>(size(block.charged), block.charged);
    }
    block.ptr
}

#[cfg(ledger_slots)]
#[cold]
#[inline(never)]
fn cold_allocation<B: Backend, D: Detail>(
    size: usize,
    plain: impl FnOnce() -> *mut u8,
    told: impl FnOnce() -> Allocation,
) -> *mut u8 {
    match ledger::begin_backend::<B>() {
        Counting::Ledger => charge::<D>(size, told()),
        Counting::BackendLater => plain(),
        Counting::Backend => {
            let ptr = plain();
            ledger::look_backend();
            ptr
        }
    }
}

#[cfg(ledger_slots)]
#[cold]
#[inline(never)]
fn cold_free<B: Backend, D: Detail>(
    size: impl FnOnce(usize) -> usize,
    plain: impl FnOnce(),
    told: impl FnOnce() -> usize,
) {
    match ledger::begin_backend::<B>() {
        Counting::Ledger => {
            let credited = told();
            ledger::credit::<D>(size(credited), credited);
        }
        Counting::Backend | Counting::BackendLater => plain(),
    }
}

#[cfg(ledger_slots)]
#[cold]
#[inline(never)]
fn cold_reallocation<B: Backend, D: Detail>(
    old_size: impl FnOnce(usize) -> usize,
    size: impl FnOnce(usize) -> usize,
    plain: impl FnOnce() -> *mut u8,
    told: impl FnOnce() -> Reallocation,
) -> *mut u8 {
    match ledger::begin_backend::<B>() {
        Counting::Ledger => recharge::<D>(old_size, size, told()),
        Counting::BackendLater => plain(),
        Counting::Backend => {
            let ptr = plain();
            ledger::look_backend();
            ptr
        }
    }
}
