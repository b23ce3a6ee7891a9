//! Letting the backend count: over an allocator that keeps exact counters per thread, the ledger only reads them.

use super::guard::with_pool;
use super::local::{Stage, local, own_slot};
use super::once::Once;
use super::slot::{SharedWriter, SingleWriter};
use super::sync::Ordering;
use super::thread::register;
use super::{Detail, peak};
use crate::backend::Backend;

/// Who counts an operation that took the cold path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counting {
    /// The backend, in counters that the ledger reads, or will read once this thread is registered.
    Backend,
    /// We do: the backend has no counters for this thread, or the ledger has read them a last time.
    Ledger,
}

/// Before an operation of a thread whose counters the ledger does not read: registers the thread if need be.
#[cold]
pub(crate) fn begin_backend<B: Backend>() -> Counting {
    let local = local();
    if local.stage.get() == Stage::Slotless {
        return Counting::Ledger;
    }
    let Some(counters) = B::thread_counters() else {
        return Counting::Ledger;
    };
    if local.stage.get() == Stage::Registering {
        return Counting::Backend;
    }
    let Some(slot) = register() else {
        return Counting::Ledger;
    };
    watch_peak::<B>();
    // Heights of the thread that had the slot before, whose counters were others.
    slot.trip.store(0, Ordering::Relaxed);
    slot.high.store(0, Ordering::Relaxed);
    // SAFETY: by the backend's promise 4 the addresses are readable until this thread is gone, and at its end the
    // slot lets go of them before.
    let attached = with_pool(|pool| unsafe { pool.attach_backend(slot, counters.allocated, counters.freed) });
    local.backend_counts.set(attached.is_some());
    Counting::Backend
}

/// Counts the details of a block given out, whose bytes the backend counts.
#[inline(always)]
pub(crate) fn charge_details<D: Detail>(requested: usize, charged: usize) {
    match own_slot() {
        Some(slot) => D::charge::<SingleWriter>(slot, requested, charged),
        None => D::charge::<SharedWriter>(super::pool().shared(), requested, charged),
    }
}

/// Counts the details of a block taken back, whose bytes the backend counts.
#[inline(always)]
pub(crate) fn credit_details<D: Detail>(requested: usize, charged: usize) {
    match own_slot() {
        Some(slot) => D::credit::<SingleWriter>(slot, requested, charged),
        None => D::credit::<SharedWriter>(super::pool().shared(), requested, charged),
    }
}

/// Has the backend call `look` on every thread that has allocated another step.
fn watch_peak<B: Backend>() {
    /// Four least steps: at 64 bytes per block, a look in 4096 allocations.
    const INTERVAL: u64 = 4 * peak::STEP_MIN;

    extern "C" fn look(allocated: u64, freed: u64) {
        let Some(slot) = own_slot() else { return };
        if local().backend_counts.get() && allocated >= slot.trip.load(Ordering::Relaxed) {
            let distance = with_pool(|pool| peak::look(pool, slot, allocated.wrapping_sub(freed) as i64));
            slot.trip.store(allocated + distance.unwrap_or(0), Ordering::Relaxed);
        }
    }

    static WATCHED: Once<()> = Once::new();
    // A backend that does not offer it leaves the peak to those who ask for it.
    let _ = WATCHED.get(|| B::on_thread_allocated(INTERVAL, look).then_some(()));
}
