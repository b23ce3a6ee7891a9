//! Letting the backend count: over an allocator that keeps exact counters per thread, the ledger only reads them.

use super::guard::with_pool;
use super::local::{Stage, local, own_slot};
use super::once::Once;
use super::slot::{NOBODYS, SharedWriter, SingleWriter};
use super::sync::Ordering;
use super::thread::register;
use super::{Detail, ask, limit, peak};
use crate::backend::Backend;
use core::sync::atomic::AtomicPtr;

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
    if local.backend_counts.get() {
        return Counting::Backend;
    }
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
    WATCH_LIMIT.store(watch_limit_of::<B> as *mut (), Ordering::Relaxed);
    // That of the thread that had the slot before, whose counters were others.
    slot.trip.store(0, Ordering::Relaxed);
    // SAFETY: by the backend's promise 4 the addresses are readable until this thread is gone, and at its end the
    // slot lets go of them before; so is this thread's own storage.
    let attached = with_pool(|pool| unsafe {
        pool.attach_backend(slot, counters.allocated, counters.freed, &local.unasked_below)
    });
    local.backend_counts.set(attached.is_some());
    // Its margin went back: what the ledger counts is asked for.
    local.slot.set(&NOBODYS);
    if ask::is_armed() {
        watch_limit_of::<B>();
    }
    Counting::Backend
}

/// Everything may be allocated without being asked for.
const ALL: usize = usize::MAX;

/// Whether an operation may be made, which the backend counts with at most `bytes`; then [`settle_backend`] has to follow.
pub(crate) fn admit_backend(bytes: usize) -> bool {
    let local = local();
    // What registering itself allocates is not refused.
    let Some(slot) = own_slot() else { return true };
    let is_asked_each_time = local.unasked_below.load(Ordering::Relaxed) == 0;
    if is_asked_each_time && ask::is_armed() && slot.is_below_ceiling(bytes as u64) {
        return true;
    }
    let admitted = ask::locked(|pool| {
        if pool.limit.is_armed() {
            return ask::or_with_given(pool, || pool.raise_ceiling(slot, bytes as u64));
        }
        local.unasked_below.store(if local.asks_always.get() { 0 } else { ALL }, Ordering::Relaxed);
        true
    });
    admitted.unwrap_or(!ask::is_armed())
}

/// After an operation that was admitted, made or refused by the backend.
pub(crate) fn settle_backend() {
    if let Some(slot) = own_slot()
        && ask::is_armed()
        && slot.is_below_ceiling(limit::GIVEN_MAX + 1)
    {
        ask::locked(|pool| pool.trim_ceiling(slot));
    }
}

/// Has the backend tell when threads have used what they were given of the limit, if there is one and a thread of such a
/// backend.
pub(crate) fn watch_limit() {
    let watch = WATCH_LIMIT.load(Ordering::Relaxed);
    if ask::is_armed() && !watch.is_null() {
        // SAFETY: only `begin_backend` stores here, and only such a function.
        unsafe { core::mem::transmute::<*mut (), fn()>(watch)() };
    }
}

/// `watch_limit_of` the backend that counts: there is at most one.
static WATCH_LIMIT: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

fn watch_limit_of<B: Backend>() {
    extern "C" fn renew(_: u64) {
        let local = local();
        let Some(slot) = own_slot().filter(|_| local.backend_counts.get()) else { return };
        // It was given more than once.
        if local.unasked_below.load(Ordering::Relaxed) == limit::LARGE && ask::is_armed() && slot.needs_no_renewal() {
            return;
        }
        ask::locked(|pool| {
            let below = match pool.limit.is_armed() {
                false => ALL,
                true if pool.renew(slot) => limit::LARGE,
                true => 0,
            };
            local.unasked_below.store(if local.asks_always.get() { 0 } else { below }, Ordering::Relaxed);
        });
    }

    static WATCHED: Once = Once::new();
    // Over a backend that does not offer it every allocation goes on to be asked for.
    let _ = WATCHED.get(|| B::on_thread_allocated(limit::ROOM, renew).then_some(0), |_| {});
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

    extern "C" fn look(allocated: u64) {
        let Some(slot) = own_slot() else { return };
        if local().backend_counts.get() && allocated >= slot.trip.load(Ordering::Relaxed) {
            let distance = with_pool(|pool| peak::look(pool, slot));
            slot.trip.store(allocated + distance.unwrap_or(0), Ordering::Relaxed);
        }
    }

    static WATCHED: Once = Once::new();
    // A backend that does not offer it leaves the peak to those who ask for it. To be called twice does no harm.
    let _ = WATCHED.get(|| B::on_thread_allocated(INTERVAL, look).then_some(0), |_| {});
}
