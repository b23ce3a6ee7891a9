//! The limits that the program set, and the one that the ledger keeps.

use super::watch;
use crate::ledger::{self, limit};
use core::sync::atomic::{AtomicUsize, Ordering};

/// No limit.
pub(super) const NONE: usize = usize::MAX;

static HARD: AtomicUsize = AtomicUsize::new(NONE);
static SOFT: AtomicUsize = AtomicUsize::new(NONE);
/// What bounding resident bytes leaves for counted ones.
static RESIDENT: AtomicUsize = AtomicUsize::new(NONE);
/// How many want to hear of refusals.
static LISTENERS: AtomicUsize = AtomicUsize::new(0);

/// The hard limit in bytes; `None` for none, as at first.
pub fn limit_bytes_hard() -> Option<usize> {
    get(&HARD)
}

/// Sets or removes the hard limit, in bytes; from any thread at any time, but for signal handlers. What it guarantees: see
/// the [module](super).
///
/// Cost: as a reading of the ledger; where there was no limit before, also a barrier in every thread, some microseconds.
pub fn set_limit_bytes_hard(limit: Option<usize>) {
    set(&HARD, limit);
    watch::look_again();
}

/// The soft limit in bytes; `None` for none, as at first.
pub fn limit_bytes_soft() -> Option<usize> {
    get(&SOFT)
}

/// Sets or removes the soft limit, in bytes; from any thread at any time, but for signal handlers. The first one starts the
/// thread that [watches](super::watch); if that can't be started, nobody is told.
///
/// Cost: as [`set_limit_bytes_hard`].
pub fn set_limit_bytes_soft(limit: Option<usize>) {
    set(&SOFT, limit);
    watch::look_again();
}

/// Sets what bounding resident bytes leaves.
pub(super) fn set_left_by_resident(limit: Option<usize>) {
    set(&RESIDENT, limit);
}

/// One more, or less, wants to hear of refusals: requests are then asked for, so that the answer is seen.
pub(super) fn listen(listens: bool) {
    if listens {
        LISTENERS.fetch_add(1, Ordering::SeqCst)
    } else {
        LISTENERS.fetch_sub(1, Ordering::SeqCst)
    };
    apply();
}

fn get(limit: &AtomicUsize) -> Option<usize> {
    Some(limit.load(Ordering::Relaxed)).filter(|&bytes| bytes != NONE)
}

fn set(limit: &AtomicUsize, bytes: Option<usize>) {
    limit.store(bytes.unwrap_or(NONE), Ordering::SeqCst);
    apply();
}

/// Sets the ledger's limit to what follows from all.
fn apply() {
    // With the ledger's lock held, so that who changes one last also looks last.
    ledger::set_limit(effective);
}

fn effective() -> usize {
    let [hard, soft, resident] = [&HARD, &SOFT, &RESIDENT].map(|limit| limit.load(Ordering::SeqCst));
    match hard.min(resident).min(limit::WATCHED) {
        limit::WATCHED if soft == NONE && LISTENERS.load(Ordering::SeqCst) == 0 => limit::NO_LIMIT,
        bytes => bytes,
    }
}
