//! The ledger's fastest way: each thread counts in its own slot, or lets the backend count.

use super::guard::with_pool;
use super::local::own_slot;
use super::slot::{SharedWriter, SingleWriter, Slot};
use super::sync::Ordering;
use super::thread::register;
use super::{Detail, Details, Totals, peak, pool};

/// Counts a block given out.
#[inline(always)]
pub fn charge<D: Detail>(requested: usize, charged: usize) {
    match own_slot() {
        Some(slot) => charge_slot::<D>(slot, requested, charged),
        None => charge_without_slot::<D>(requested, charged),
    }
}

/// Counts a block taken back.
#[inline(always)]
pub fn credit<D: Detail>(requested: usize, charged: usize) {
    match own_slot() {
        Some(slot) => credit_slot::<D>(slot, requested, charged),
        None => credit_without_slot::<D>(requested, charged),
    }
}

#[inline(always)]
fn charge_slot<D: Detail>(slot: &'static Slot, requested: usize, charged: usize) {
    D::charge::<SingleWriter>(slot, requested, charged);
    if slot.charge::<SingleWriter>(charged) {
        tripped(slot);
    }
}

#[inline(always)]
fn credit_slot<D: Detail>(slot: &'static Slot, requested: usize, charged: usize) {
    D::credit::<SingleWriter>(slot, requested, charged);
    slot.credit::<SingleWriter>(charged);
}

#[cold]
fn charge_without_slot<D: Detail>(requested: usize, charged: usize) {
    match register() {
        Some(slot) => charge_slot::<D>(slot, requested, charged),
        None => {
            let shared = pool().shared();
            D::charge::<SharedWriter>(shared, requested, charged);
            shared.charge::<SharedWriter>(charged);
        }
    }
}

#[cold]
fn credit_without_slot<D: Detail>(requested: usize, charged: usize) {
    match register() {
        Some(slot) => credit_slot::<D>(slot, requested, charged),
        None => {
            let shared = pool().shared();
            D::credit::<SharedWriter>(shared, requested, charged);
            shared.credit::<SharedWriter>(charged);
        }
    }
}

#[cold]
fn tripped(slot: &Slot) {
    let allocated = slot.allocated.load(Ordering::Relaxed);
    let next = with_pool(|pool| peak::look(pool, slot, allocated, slot.live()));
    slot.trip.store(next.unwrap_or(allocated + peak::STEP_MIN), Ordering::Relaxed);
}

pub(crate) fn totals() -> Totals {
    static LAST: (core::sync::atomic::AtomicU64, core::sync::atomic::AtomicU64) =
        (core::sync::atomic::AtomicU64::new(0), core::sync::atomic::AtomicU64::new(0));
    match with_pool(|pool| pool.totals()) {
        Some(totals) => {
            LAST.0.store(totals.freed_bytes, Ordering::Relaxed);
            LAST.1.store(totals.allocated_bytes, Ordering::Relaxed);
            totals
        }
        None => Totals { freed_bytes: LAST.0.load(Ordering::Relaxed), allocated_bytes: LAST.1.load(Ordering::Relaxed) },
    }
}

pub(crate) fn peak() -> u64 {
    peak::record(pool(), totals().live_bytes())
}

pub(crate) fn details() -> Details {
    pool().details()
}
