//! A limit that is a share of a larger one, which other processes have too: it grows when there is not enough, and what is
//! not used goes back.

use super::guard::with_pool;
use super::limit::Limit;
use super::local::own_slot;
use super::pool::{Pool, read_foreign};
use core::sync::atomic::{AtomicPtr, Ordering};

/// Where more is to be had.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Answers so many bytes or more, or 0; told the limit as it is. Called with the ledger's lock held: it neither allocates
    /// nor counts.
    pub take: fn(wanted: u64, limit: u64) -> u64,
    /// Takes bytes back; as `take`.
    pub give_back: fn(bytes: u64),
    /// What is to be kept at most beside what is used; as `take`.
    pub keep: fn() -> u64,
}

static SOURCE: AtomicPtr<Source> = AtomicPtr::new(core::ptr::null_mut());

/// Has the limit be a share of a source, or no longer.
pub fn share_limit(source: Option<&'static Source>) {
    let source = source.map_or(core::ptr::null_mut(), |source| core::ptr::from_ref(source).cast_mut());
    SOURCE.store(source, Ordering::Release);
}

fn source() -> Option<&'static Source> {
    // SAFETY: null, or a reference for the rest of the program.
    unsafe { SOURCE.load(Ordering::Acquire).as_ref() }
}

pub(super) fn is_shared() -> bool {
    source().is_some()
}

/// With the lock held: raises the limit so that it has `bytes` left, if that is to be had.
pub(super) fn raise(limit: &Limit, bytes: u64) -> bool {
    let Some(source) = source() else { return false };
    let missing = limit.missing(bytes);
    let taken = if missing > 0 { (source.take)(missing, limit.bytes() as u64) } else { 0 };
    limit.raise(taken);
    missing == 0 || taken > 0
}

/// With the lock held: gives back what is left beyond what is to be kept, if that is much.
pub(super) fn trim(limit: &Limit) {
    const MUCH: u64 = 128 << 10;
    let Some(source) = source() else { return };
    let keep = (source.keep)();
    if limit.left() > keep.saturating_add(MUCH) {
        (source.give_back)(limit.lower(keep));
    }
}

/// The bytes that the calling thread freed since the limit was told.
#[inline]
pub fn frees_not_told() -> u64 {
    own_slot().map_or(0, |slot| {
        let freed = slot.freed.load(Ordering::Relaxed).wrapping_add(read_foreign(&slot.backend_freed));
        freed.wrapping_sub(slot.freed_known.load(Ordering::Relaxed))
    })
}

/// Gives back to the source what is left of the limit beyond `keep` bytes.
pub fn give_back_share(keep: u64) {
    with_pool(|pool| pool.with_lock(|pool: &Pool| give_back(pool, keep)));
}

fn give_back(pool: &Pool, keep: u64) {
    let Some(source) = source() else { return };
    pool.find_committed();
    let surplus = pool.limit.lower(keep);
    if surplus > 0 {
        (source.give_back)(surplus);
    }
}

/// Runs a section with the lock held, which is told the limit. `None` in a signal handler that interrupted the holder.
pub fn with_limit<R>(section: impl FnOnce(usize) -> R) -> Option<R> {
    with_pool(|pool| pool.with_lock(|pool| section(pool.limit.bytes())))
}

/// The limit, to somebody who has the lock.
pub fn limit_bytes() -> usize {
    super::pool().limit.bytes()
}

/// Takes bytes of the limit for what is no block, until [`give_back_beside`]; false if there are not so many.
pub fn take_beside(bytes: usize) -> bool {
    super::ask::locked(|pool| super::ask::or_with_given(pool, || pool.take_beside(bytes as u64))).unwrap_or(false)
}

/// As [`take_beside`], whatever the limit: they are there.
pub fn add_beside(bytes: usize) {
    super::ask::locked(|pool| pool.add_beside(bytes as u64));
}

/// Gives back what [`take_beside`] took.
pub fn give_back_beside(bytes: usize) {
    super::ask::locked(|pool| pool.give_back_beside(bytes as u64));
}
