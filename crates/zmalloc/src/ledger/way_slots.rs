//! The ledger's fastest way: each thread counts in its own slot, or lets the backend count.

use super::guard::with_pool;
use super::local::{Stage, local, own_slot, slot_or_nobodys};
use super::pool::Pool;
use super::slot::{NOBODYS, SharedWriter, SingleWriter, Slot};
use super::sync::Ordering;
use super::thread::register;
use super::{Detail, Details, Totals, ask, peak, pool};

/// Counts a block given out, whatever the limit.
#[inline(always)]
pub fn charge<D: Detail>(requested: usize, charged: usize) {
    if let Err(tried) = try_charge::<D>(requested, charged)
        && !finish_charge::<D>(tried, requested, charged)
    {
        ask::charge_unasked::<D>(requested, charged);
    }
}

/// As [`charge`], but an error if that takes more than its usual path: then [`finish_charge`] has to follow, with what was
/// tried and the same figures. A caller that does so last needs no registers saved for it.
#[inline(always)]
pub fn try_charge<D: Detail>(requested: usize, charged: usize) -> Result<(), &'static Slot> {
    let slot = slot_or_nobodys();
    if !slot.take(charged) {
        return Err(slot);
    }
    D::charge::<SingleWriter>(slot, requested, charged);
    Ok(())
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

/// What [`try_charge`] left: the thread had no slot, its room is used up, or it is to be asked for. False if the limit has
/// not so much: then nothing is counted.
///
/// The slot is not looked up anew, since a signal handler may have registered the thread meanwhile.
#[cold]
#[inline(never)]
pub fn finish_charge<D: Detail>(tried: &'static Slot, requested: usize, charged: usize) -> bool {
    if !core::ptr::eq(tried, &NOBODYS) {
        D::charge::<SingleWriter>(tried, requested, charged);
        look(tried);
        return true;
    }
    match register() {
        Some(slot) if ask::may_count(local(), slot) => {
            let enough = slot.take(charged);
            D::charge::<SingleWriter>(slot, requested, charged);
            if !enough {
                look(slot);
            }
            true
        }
        // What registering itself allocates is not refused.
        None if local().stage.get() == Stage::Registering || !ask::is_armed() => {
            let shared = pool().shared();
            D::charge::<SharedWriter>(shared, requested, charged);
            let sum = shared.charge_shared(charged);
            // Not while registering, which must not wait.
            if local().stage.get() == Stage::Slotless {
                look_shared(sum, charged);
            }
            true
        }
        _ if !ask::is_armed() => {
            ask::charge_unasked::<D>(requested, charged);
            true
        }
        _ => ask::charge_admitted::<D>(0, requested, charged),
    }
}

/// Whether a request that is not large may be made without asking for it first, though it cannot be undone.
#[inline(always)]
pub fn has_room() -> bool {
    slot_or_nobodys().has_room()
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

/// Looks for the peak, and grants room until the next look, or until the limit.
fn look(slot: &Slot) {
    let looked = with_pool(|pool| peak::look(pool, slot));
    match looked.and_then(|distance| ask::locked(|pool| pool.top_up(slot, distance))) {
        Some(true) => {}
        Some(false) => local().slot.set(&NOBODYS),
        // In a signal handler that interrupted a reading: that one may see this grant by halves.
        None => slot.grant(if ask::is_armed() { 0 } else { peak::STEP_MIN }),
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

/// The calling thread's own sums, of which only differences mean something; registers it if that was not done. `None`
/// for a thread without a slot, which counts where others do.
#[inline]
pub(crate) fn thread_totals() -> Option<Totals> {
    let slot = own_slot().or_else(register)?;
    Some(Pool::totals_of(slot))
}

pub(crate) fn peak() -> u64 {
    peak::record(pool(), totals().live_bytes())
}

pub(crate) fn details() -> Details {
    pool().details()
}

#[cfg(test)]
mod tests {
    use super::super::TotalsOnly;
    use super::*;

    #[test]
    fn a_signal_handler_that_registers_the_thread_it_interrupted_loses_no_block() {
        std::thread::spawn(|| {
            let tried = try_charge::<TotalsOnly>(0, 50);
            charge::<TotalsOnly>(0, 7000);
            let slot = own_slot().unwrap();
            let before = slot.allocated();
            assert!(finish_charge::<TotalsOnly>(tried.unwrap_err(), 0, 50));
            assert_eq!(slot.allocated(), before + 50);
        })
        .join()
        .unwrap();
    }

    /// Where counters are changed in one instruction.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn signal_handlers_that_allocate_are_counted_to_the_byte() {
        use core::sync::atomic::{AtomicBool, AtomicU64};
        use std::os::unix::thread::JoinHandleExt;

        const SIGNALS: u64 = 1_000;
        static HANDLED: AtomicU64 = AtomicU64::new(0);
        static READY: AtomicBool = AtomicBool::new(false);
        static DONE: AtomicBool = AtomicBool::new(false);

        extern "C" fn allocate(_: libc::c_int) {
            charge::<TotalsOnly>(0, 5000);
            credit::<TotalsOnly>(0, 3000);
            HANDLED.fetch_add(1, Ordering::Release);
        }

        // SAFETY: a handler that only counts; nobody else here uses the signal.
        unsafe { libc::signal(libc::SIGIO, allocate as *const () as libc::sighandler_t) };
        let owner = std::thread::spawn(|| {
            charge::<TotalsOnly>(0, 0);
            let slot = own_slot().unwrap();
            let sums = || (slot.allocated(), slot.freed.load(Ordering::Relaxed));
            let (before, mut rounds) = (sums(), 0);
            READY.store(true, Ordering::Release);
            while !DONE.load(Ordering::Relaxed) {
                charge::<TotalsOnly>(0, 700);
                credit::<TotalsOnly>(0, 500);
                rounds += 1;
            }
            let after = sums();
            assert_eq!(after.0 - before.0, rounds * 700 + SIGNALS * 5000);
            assert_eq!(after.1 - before.1, rounds * 500 + SIGNALS * 3000);
        });
        while !READY.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        for number in 1..=SIGNALS {
            // SAFETY: a thread that runs until it is told.
            unsafe { libc::pthread_kill(owner.as_pthread_t(), libc::SIGIO) };
            while HANDLED.load(Ordering::Acquire) != number {
                std::thread::yield_now();
            }
        }
        DONE.store(true, Ordering::Relaxed);
        owner.join().unwrap();
    }
}
