//! A limit that is a share of a larger one, which other processes have too: it grows when there is not enough, and what is
//! not used goes back.

use super::guard::with_pool;
use super::limit::Limit;
use super::local::own_slot;
use super::pool::{Pool, read_foreign};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

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

/// What this process has of the source beyond its limit, which was set below what it used then. With the lock held.
static BEYOND: AtomicU64 = AtomicU64::new(0);

/// Has the limit be a share of a source, from which so much more was had than the limit will be; or no longer.
pub fn share_limit(source: Option<&'static Source>, beyond: u64) {
    BEYOND.store(beyond, Ordering::Relaxed);
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
    if limit.left() > keep.saturating_add(MUCH) || beyond(limit) > MUCH {
        give_back_to(source, limit, keep);
    }
}

/// With the lock held: what is had beyond the limit, and not used any more.
fn beyond(limit: &Limit) -> u64 {
    BEYOND.load(Ordering::Relaxed).saturating_sub(limit.missing(0))
}

fn give_back_to(source: &Source, limit: &Limit, keep: u64) {
    let beyond = beyond(limit);
    BEYOND.fetch_sub(beyond, Ordering::Relaxed);
    let surplus = limit.lower(keep) + beyond;
    if surplus > 0 {
        (source.give_back)(surplus);
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
    give_back_to(source, &pool.limit, keep);
}

/// Sets what this process may have at most of its source. What it uses beyond that it keeps until it is freed.
pub fn limit_share(most: usize) {
    give_back_share(0);
    super::set_limit(|| {
        let share = share_bytes();
        let limit = share.min(most as u64);
        BEYOND.store(share - limit, Ordering::Relaxed);
        limit as usize
    });
}

/// What this process has of its source, to somebody who has the lock.
pub fn share_bytes() -> u64 {
    super::pool().limit.bytes() as u64 + BEYOND.load(Ordering::Relaxed)
}

/// Raises the limit, for somebody who has the lock and no source any more.
pub fn raise_limit(bytes: usize) {
    let limit = &super::pool().limit;
    limit.raise(bytes.saturating_sub(limit.bytes()) as u64);
}

/// Runs a section with the lock held. `None` in a signal handler that interrupted the holder.
pub fn with_lock<R>(section: impl FnOnce() -> R) -> Option<R> {
    with_pool(|pool| pool.with_lock(|_| section()))
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
