//! Asking for bytes of the limit before they are taken: by threads that were given none ahead, and for what is large.

use super::guard::with_pool;
use super::local::{Local, Stage, local, own_slot};
use super::pool::Pool;
use super::slot::{NOBODYS, SharedWriter, SingleWriter, Slot};
use super::sync::Ordering;
use super::{Detail, barrier, peak, pool};
use core::sync::atomic::AtomicPtr;

/// Whether anything is limited or watched: then bytes are to be asked for.
#[inline]
pub fn is_armed() -> bool {
    pool().limit.is_armed()
}

/// Sets the limit to what `bytes` answers, with the pool's lock held: bytes, `limit::WATCHED` or
/// `limit::NO_LIMIT`.
///
/// It holds for every operation of the calling thread that begins after this, and for others' but for what they were given
/// ahead. In a signal handler that interrupted the ledger nothing is set.
pub fn set_limit(bytes: impl Fn() -> usize) {
    barrier::prepare();
    locked(|pool| {
        pool.set_limit(bytes(), barrier::everywhere);
        if pool.limit.is_armed() {
            give_back(pool);
        }
    });
    super::backend_counts::watch_limit();
}

/// Has `tell` called, by a thread that allocates, when more than `bytes` are used; it neither allocates nor waits. Not for
/// what is used by then already.
///
/// True if it will be: an operation was granted more than that and is under way. Who is in the midst of it may not tell any
/// more.
pub(crate) fn watch_above(bytes: usize, tell: fn()) -> bool {
    TELL.store(tell as *mut (), Ordering::Relaxed);
    // Not by `locked`: who watches needs not be told now.
    let above = with_pool(|pool| {
        pool.with_lock(|pool| {
            if pool.limit.is_armed() {
                pool.find_committed();
            }
            pool.limit.watch_above(bytes, pool.totals_without_lock().live_bytes(), pool.threads());
            pool.limit.is_above_watched()
        })
    });
    above.unwrap_or(false)
}

/// Whether the calling thread holds the pool's lock: then this is a signal handler that interrupted it.
pub(crate) fn is_interrupted() -> bool {
    pool().is_locked_here()
}

static TELL: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Runs a section with the pool's lock held, and tells who watches if the use has risen; `None` in a signal handler that
/// interrupted the holder.
pub(super) fn locked<R>(section: impl FnOnce(&Pool) -> R) -> Option<R> {
    let (result, above) = with_pool(|pool| pool.with_lock(|pool| (section(pool), pool.limit.is_above_watched())))?;
    if above {
        let tell = TELL.load(Ordering::Relaxed);
        if !tell.is_null() {
            // SAFETY: only `watch_above` stores here, and only such a function.
            unsafe { core::mem::transmute::<*mut (), fn()>(tell)() };
        }
    }
    Some(result)
}

/// Takes bytes of the limit for an operation that is about to be made, if there are so many: then [`charge_admitted`] or
/// [`land`] has to follow.
pub fn admit(bytes: usize) -> bool {
    locked(|pool| or_with_given(pool, || pool.take_off(bytes as u64))).unwrap_or(false)
}

/// With the lock held: whether there are so many bytes as `take` wants, or are with what the calling thread was given ahead.
pub(super) fn or_with_given(pool: &Pool, take: impl Fn() -> bool) -> bool {
    take() || (give_back(pool) && take())
}

/// With the lock held: the calling thread gives back what it was given ahead, and is to ask from now on. False if it is
/// given nothing.
fn give_back(pool: &Pool) -> bool {
    let (local, own) = (local(), own_slot());
    if let Some(slot) = own {
        // First, so that a signal handler does not count there meanwhile.
        local.slot.set(&NOBODYS);
        local.unasked_below.store(0, Ordering::Relaxed);
        pool.take_back_given(slot);
    }
    own.is_some()
}

/// The operation for which these bytes were admitted did not take any.
pub fn land(admitted: usize) {
    if admitted > 0 {
        locked(|pool| pool.land(admitted as u64));
    }
}

/// Counts a block given out, for which `admitted` bytes were taken of the limit. False if it is charged more and there is
/// not so much: then nothing is counted.
pub fn charge_admitted<D: Detail>(admitted: usize, requested: usize, charged: usize) -> bool {
    let own = own_slot();
    let slot = own.unwrap_or(pool().shared());
    let counted = locked(|pool| {
        pool.land(admitted as u64);
        or_with_given(pool, || pool.charge_asked(slot, charged as u64))
    });
    if counted != Some(true) {
        return false;
    }
    finish::<D>(own, requested, charged);
    true
}

/// Counts a block given out whatever the limit: it cannot be taken back.
pub(crate) fn charge_unasked<D: Detail>(requested: usize, charged: usize) {
    let own = own_slot();
    let slot = own.unwrap_or(pool().shared());
    if locked(|pool| pool.charge_unasked(slot, charged as u64)).is_none() {
        slot.charge_past_room(charged as u64);
    }
    finish::<D>(own, requested, charged);
}

/// Counts a block that was resized, from its requested and charged bytes before to those after, whatever the limit: it
/// cannot be undone.
pub fn recharge_unasked<D: Detail>(old: (usize, usize), new: (usize, usize)) {
    let own = own_slot();
    let slot = own.unwrap_or(pool().shared());
    let recharge = |pool: &Pool| {
        pool.charge_unasked(slot, new.1 as u64);
        slot.credit_shared(old.1);
        pool.report_frees(slot);
        match own {
            Some(slot) => D::credit::<SingleWriter>(slot, old.0, old.1),
            None => D::credit::<SharedWriter>(slot, old.0, old.1),
        }
    };
    if locked(recharge).is_none() {
        // In a signal handler that interrupted the holder of the lock.
        slot.charge_past_room(new.1 as u64);
        slot.credit_shared(old.1);
    }
    #[cfg(not(ledger_slots))]
    super::thread_sums::credit(old.1);
    finish::<D>(own, new.0, new.1);
}

/// After the bytes of a block were counted past the room: its details, and the peak.
fn finish<D: Detail>(own: Option<&Slot>, requested: usize, charged: usize) {
    #[cfg(not(ledger_slots))]
    super::thread_sums::charge(charged);
    match own {
        Some(slot) => {
            D::charge::<SingleWriter>(slot, requested, charged);
            with_pool(|pool| peak::look(pool, slot));
        }
        None => {
            locked(|pool| {
                D::charge::<SharedWriter>(pool.shared(), requested, charged);
                peak::record(pool, pool.totals_without_lock().live_bytes());
            });
        }
    }
}

/// A thread begins, with this slot of its own.
pub(super) fn begin(local: &Local, slot: &'static Slot) {
    // Who arms the pool sees that the slot is claimed, or this thread sees that the pool is armed.
    super::sync::fence(Ordering::SeqCst);
    local.slot.set(&NOBODYS);
    let _ = may_count(local, slot);
}

/// Whether the thread may count in its slot without being asked, or may so from now on.
pub(super) fn may_count(local: &Local, slot: &'static Slot) -> bool {
    if core::ptr::eq(local.slot.get(), slot) {
        return true;
    }
    let may = !local.asks_always.get() && (!is_armed() || locked(|pool| pool.equip(slot)) == Some(true));
    if may {
        local.slot.set(slot);
    }
    may
}

/// Has every allocation of the calling thread asked for, from now on or no longer. Answers how it was.
pub(crate) fn ask_always(always: bool) -> bool {
    let local = local();
    let before = local.asks_always.replace(always);
    if always && local.stage.get() == Stage::Live {
        local.slot.set(&NOBODYS);
        locked(|_| local.unasked_below.store(0, Ordering::Relaxed));
    }
    before
}

/// Whether the calling thread wants every allocation asked for.
pub(crate) fn asks_always() -> bool {
    local().asks_always.get()
}
