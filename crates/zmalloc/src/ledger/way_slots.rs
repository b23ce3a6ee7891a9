//! The ledger's fastest way: each thread counts in its own slot, or lets the backend count.

use super::guard::with_pool;
use super::local::{Stage, local, slot};
use super::slot::{SharedWriter, SingleWriter, Slot};
use super::sync::Ordering;
use super::thread::register;
use super::{Detail, Details, Totals, peak, pool};
use crate::backend::Backend;

/// Counts a block given out.
#[inline(always)]
pub fn charge<D: Detail>(requested: usize, charged: usize) {
    match slot() {
        Some(slot) => charge_slot::<D>(slot, requested, charged),
        None => charge_without_slot::<D>(requested, charged),
    }
}

/// Counts a block taken back.
#[inline(always)]
pub fn credit<D: Detail>(requested: usize, charged: usize) {
    match slot() {
        Some(slot) => credit_slot::<D>(slot, requested, charged),
        None => credit_without_slot::<D>(requested, charged),
    }
}

/// What [`try_charge`] leaves to its caller.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// Nothing: the block is counted.
    Counted,
    /// The block is counted, and the thread has risen enough for [`look`].
    Look,
    /// The block is not counted, as the thread has no slot: [`charge`] it.
    Refused,
}

/// Counts a block given out, if the thread has a slot. What is rare is left to the caller, who can do it last: then a
/// function that counts saves no registers for it.
#[inline(always)]
pub fn try_charge<D: Detail>(requested: usize, charged: usize) -> Charge {
    let Some(slot) = slot() else { return Charge::Refused };
    D::charge::<SingleWriter>(slot, requested, charged);
    if slot.charge::<SingleWriter>(charged) { Charge::Look } else { Charge::Counted }
}

/// Counts a block taken back, if the thread has a slot; else answers false, and [`credit`] does it.
#[inline(always)]
pub fn try_credit<D: Detail>(requested: usize, charged: usize) -> bool {
    let slot = slot();
    if let Some(slot) = slot {
        credit_slot::<D>(slot, requested, charged);
    }
    slot.is_some()
}

/// Looks for the peak, after an allocation of this thread's.
#[cold]
pub fn look() {
    if let Some(slot) = slot() {
        tripped(slot);
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

/// Whether the backend counts this thread's operations, and an allocation of `size` bytes does not reach the trip.
#[inline(always)]
pub(crate) fn backend_counts_allocation(size: usize) -> bool {
    let local = local();
    let counter = local.backend_allocated.get();
    // SAFETY: set by `begin_backend` to this thread's counter, which lives until `at_thread_exit` clears it.
    !counter.is_null() && unsafe { *counter }.wrapping_add(size as u64) < local.trip.get()
}

/// Whether the backend counts this thread's operations.
#[inline(always)]
pub(crate) fn backend_counts_free() -> bool {
    !local().backend_freed.get().is_null()
}

/// Who counts an operation that took the cold path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counting {
    /// The backend, in counters that the ledger reads.
    Backend,
    /// The backend, in counters that the ledger will read once this thread is registered.
    BackendLater,
    /// We do: the backend has no counters for this thread, or the ledger has read them a last time.
    Ledger,
}

/// Before an operation of a backend that may count per thread: registers the thread if need be.
#[cold]
pub(crate) fn begin_backend<B: Backend>() -> Counting {
    let local = local();
    match local.stage.get() {
        Stage::Registering => return Counting::BackendLater,
        Stage::Slotless => return Counting::Ledger,
        Stage::Live if !local.backend_freed.get().is_null() => return Counting::Backend,
        Stage::New | Stage::Live => {}
    }
    let Some(counters) = B::thread_counters() else {
        return Counting::Ledger;
    };
    let Some(slot) = register() else {
        return Counting::Ledger;
    };
    // SAFETY: by the backend's promise 4 the addresses are readable until this thread is gone, and `at_thread_exit`
    // detaches them before.
    let attached = with_pool(|pool| unsafe { pool.attach_backend(slot, counters.allocated, counters.freed) });
    if attached.is_none() {
        return Counting::BackendLater;
    }
    local.backend_allocated.set(counters.allocated);
    local.backend_freed.set(counters.freed);
    Counting::Backend
}

/// After an allocation that reached the trip of a thread whose operations the backend counts.
#[cold]
pub(crate) fn look_backend() {
    let local = local();
    let (allocated, freed) = (local.backend_allocated.get(), local.backend_freed.get());
    // SAFETY: a thread's slot is null or valid as long as the process lives.
    let slot = unsafe { local.slot.get().as_ref() };
    let Some(slot) = slot.filter(|_| !allocated.is_null()) else { return };
    // SAFETY: not null, so set by `begin_backend` and readable until `at_thread_exit`.
    let (allocated, freed) = unsafe { (*allocated, *freed) };
    let next = with_pool(|pool| peak::look(pool, slot, allocated, allocated.wrapping_sub(freed) as i64));
    local.trip.set(next.unwrap_or(allocated + peak::STEP_MIN));
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
