//! The ledger's fastest way: each thread counts in its own slot, or lets the backend count.

use super::guard::with_pool;
use super::local::{Stage, local, slot_or_nobodys};
use super::slot::{NOBODYS, SharedWriter, SingleWriter, Slot};
use super::sync::Ordering;
use super::thread::register;
use super::{Detail, Details, Totals, peak, pool};

/// Counts a block given out.
#[inline(always)]
pub fn charge<D: Detail>(requested: usize, charged: usize) {
    if !try_charge::<D>(requested, charged) {
        finish_charge::<D>(requested, charged);
    }
}

/// As [`charge`], but false if that takes more than its usual path: then [`finish_charge`] has to follow, with the same
/// figures. A caller that does so last needs no registers saved for it.
#[inline(always)]
pub fn try_charge<D: Detail>(requested: usize, charged: usize) -> bool {
    let slot = slot_or_nobodys();
    let enough = slot.take(charged);
    if enough {
        D::charge::<SingleWriter>(slot, requested, charged);
    }
    enough
}

/// Counts a block taken back.
#[inline(always)]
pub fn credit<D: Detail>(requested: usize, charged: usize) {
    if !try_credit::<D>(requested, charged) {
        cold_credit::<D>(requested, charged);
    }
}

/// As [`credit`], but false if the thread has no slot yet: then nothing is counted, and [`credit`] has to follow.
#[inline(always)]
pub fn try_credit<D: Detail>(requested: usize, charged: usize) -> bool {
    let slot = slot_or_nobodys();
    let own = slot.credit(charged);
    if own {
        D::credit::<SingleWriter>(slot, requested, charged);
    }
    own
}

/// What [`try_charge`] left: the thread has no slot, or its room is used up.
#[cold]
#[inline(never)]
pub fn finish_charge<D: Detail>(requested: usize, charged: usize) {
    let slot = slot_or_nobodys();
    if !core::ptr::eq(slot, &NOBODYS) {
        D::charge::<SingleWriter>(slot, requested, charged);
        return look(slot);
    }
    match register() {
        Some(slot) => {
            let enough = slot.take(charged);
            D::charge::<SingleWriter>(slot, requested, charged);
            if !enough {
                look(slot);
            }
        }
        None => {
            let shared = pool().shared();
            D::charge::<SharedWriter>(shared, requested, charged);
            let sum = shared.charge_shared(charged);
            // Not while registering, which must not wait.
            if local().stage.get() == Stage::Slotless {
                look_shared(sum, charged);
            }
        }
    }
}

/// Reads the total into the peak if these bytes, the last of `sum`, took the shared slot over a multiple of the step.
fn look_shared(sum: u64, charged: usize) {
    let step = pool().step();
    if sum / step != sum.wrapping_sub(charged as u64) / step {
        // In a signal handler that interrupted a reading, the next multiple has to do.
        let _ = with_pool(|pool| peak::record(pool, pool.totals().live_bytes()));
    }
}

/// The thread has no slot.
#[cold]
#[inline(never)]
fn cold_credit<D: Detail>(requested: usize, charged: usize) {
    match register() {
        Some(slot) => {
            slot.credit(charged);
            D::credit::<SingleWriter>(slot, requested, charged);
        }
        None => {
            let shared = pool().shared();
            D::credit::<SharedWriter>(shared, requested, charged);
            shared.credit_shared(charged);
        }
    }
}

/// Looks for the peak, and grants room until the next look.
fn look(slot: &Slot) {
    let looked = with_pool(|pool| {
        let distance = peak::look(pool, slot, slot.live());
        pool.grant(slot, distance);
    });
    if looked.is_none() {
        // In a signal handler that interrupted a reading: that one may see this grant by halves.
        slot.grant(peak::STEP_MIN);
    }
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
