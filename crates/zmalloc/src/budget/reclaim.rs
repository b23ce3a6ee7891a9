//! Asking the program for memory before it is refused some.

use super::limits;
use crate::ledger;
use core::cell::Cell;
use core::fmt;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

/// How many reclaimers there may be at once.
pub const MAX_RECLAIMERS: usize = 64;

/// Registers what can free memory when an allocation is about to be refused: a cache that can shed.
///
/// `free` is told how many bytes are missing and answers how many it freed, as far as it knows. It is called **by the thread
/// that allocates, within that allocation**: it must not wait for a lock that its caller may hold (use `try_lock`), and what it
/// allocates itself is refused without asking again. One thread at a time calls it. If it panics, the process aborts.
///
/// Reclaimers are asked in the order of `cost`, the lowest first, until the request fits. A request below 16 KiB
/// that the *kernel* has no memory for, rather than a limit, is refused without asking.
///
/// ```
/// use std::sync::Mutex;
/// use zmalloc::{Zmalloc, budget};
///
/// #[global_allocator]
/// static HEAP: Zmalloc = Zmalloc::new();
/// static CACHE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
///
/// let reclaimer = budget::reclaimer(10, |missing| {
///     let Ok(mut cache) = CACHE.try_lock() else { return 0 };
///     let mut freed = 0;
///     while freed < missing {
///         let Some(page) = cache.pop() else { break };
///         freed += page.len();
///     }
///     freed
/// });
/// budget::set_limit_bytes_hard(Some(zmalloc::used_memory() + (8 << 20)));
/// let pages = || (0..6).map(|_| vec![0u8; 1 << 20]).collect::<Vec<_>>();
/// *CACHE.lock().unwrap() = pages();
/// let pages = pages(); // What the cache holds makes room.
/// assert!(CACHE.lock().unwrap().len() < 6 && pages.len() == 6);
/// # drop(reclaimer);
/// ```
///
/// # Errors
/// If there are [`MAX_RECLAIMERS`] already.
pub fn reclaimer(
    cost: u32,
    free: impl Fn(usize) -> usize + Send + Sync + 'static,
) -> Result<Reclaimer, TooManyReclaimers> {
    let free: Free = Box::new(free);
    let free = Box::into_raw(Box::new(free));
    for place in &PLACES {
        if !place.try_enter() {
            continue;
        }
        let is_free = place.free.load(Ordering::Relaxed).is_null();
        if is_free {
            place.cost.store(cost, Ordering::Relaxed);
            place.free.store(free, Ordering::Release);
        }
        place.busy.store(0, Ordering::Release);
        if is_free {
            COUNT.fetch_add(1, Ordering::Release);
            limits::listen(true);
            return Ok(Reclaimer { place });
        }
    }
    // SAFETY: made above, and given to nobody.
    drop(unsafe { Box::from_raw(free) });
    Err(TooManyReclaimers)
}

type Free = Box<dyn Fn(usize) -> usize + Send + Sync>;

/// A registered reclaimer, until this is dropped; see [`reclaimer`]. Dropping it waits for a call of it that another thread
/// is making. Not to be dropped by the reclaimer itself.
#[must_use = "the reclaimer is taken back when this is dropped"]
pub struct Reclaimer {
    place: &'static Place,
}

impl Drop for Reclaimer {
    fn drop(&mut self) {
        while !self.place.try_enter() {
            std::thread::yield_now();
        }
        let free = self.place.free.swap(core::ptr::null_mut(), Ordering::Relaxed);
        COUNT.fetch_sub(1, Ordering::Release);
        self.place.busy.store(0, Ordering::Release);
        limits::listen(false);
        // SAFETY: made in `reclaimer`, and nobody finds it any more.
        drop(unsafe { Box::from_raw(free) });
    }
}

impl fmt::Debug for Reclaimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reclaimer(cost {})", self.place.cost.load(Ordering::Relaxed))
    }
}

/// There are [`MAX_RECLAIMERS`] already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyReclaimers;

impl fmt::Display for TooManyReclaimers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there are {MAX_RECLAIMERS} reclaimers already: drop one, or let one free from several caches")
    }
}

impl core::error::Error for TooManyReclaimers {}

/// Where a reclaimer is registered. A table of fixed size, so that it is read within an allocation.
struct Place {
    /// The generation of processes in which a thread calls it or changes it; 0 for none. A forked child does not wait for
    /// its parent's threads.
    busy: AtomicU32,
    cost: AtomicU32,
    /// Null for none. Changed and called by who is busy with it.
    free: AtomicPtr<Free>,
}

static PLACES: [Place; MAX_RECLAIMERS] =
    [const { Place { busy: AtomicU32::new(0), cost: AtomicU32::new(0), free: AtomicPtr::new(core::ptr::null_mut()) } };
        MAX_RECLAIMERS];

/// How many there are.
static COUNT: AtomicUsize = AtomicUsize::new(0);

std::thread_local! {
    /// This thread is asking reclaimers. Without a destructor.
    static RECLAIMS: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread is asking reclaimers.
pub(crate) fn reclaims_here() -> bool {
    RECLAIMS.with(Cell::get)
}

/// Asks reclaimers for `missing` bytes, trying again after each; false if none helped.
///
/// Where another thread is asking one, it is waited for, but not for ever: it may wait for a lock of the caller's.
#[cold]
pub(crate) fn reclaim(missing: usize, try_again: &mut dyn FnMut() -> bool) -> bool {
    // In a signal handler that interrupted the ledger nothing can be freed.
    if COUNT.load(Ordering::Acquire) == 0 || reclaims_here() || ledger::is_interrupted() {
        return false;
    }
    /// Yields to other threads that reclaim before giving up, together some milliseconds where nobody else runs.
    const PATIENCE: u32 = 1000;
    let mut patience = PATIENCE;
    let mut asked = [false; MAX_RECLAIMERS];
    RECLAIMS.with(|reclaims| reclaims.set(true));
    let helped = loop {
        let next = (0..MAX_RECLAIMERS)
            .filter(|&at| !asked[at] && !PLACES[at].free.load(Ordering::Relaxed).is_null())
            .min_by_key(|&at| PLACES[at].cost.load(Ordering::Relaxed));
        let Some(at) = next else { break false };
        if PLACES[at].try_enter() {
            asked[at] = true;
            PLACES[at].ask(missing);
            PLACES[at].busy.store(0, Ordering::Release);
        } else {
            patience -= 1;
            asked[at] = patience == 0;
            patience = patience.max(1);
            std::thread::yield_now();
        }
        if try_again() {
            break true;
        }
    };
    RECLAIMS.with(|reclaims| reclaims.set(false));
    helped
}

impl Place {
    fn try_enter(&self) -> bool {
        let this = ledger::generation();
        let enter = |busy: u32| (busy != this).then_some(this);
        self.busy.fetch_update(Ordering::Acquire, Ordering::Relaxed, enter).is_ok()
    }

    fn ask(&self, missing: usize) {
        /// Aborts when it is dropped, by a panic: no allocation unwinds.
        struct AbortOnUnwind;
        impl Drop for AbortOnUnwind {
            fn drop(&mut self) {
                std::process::abort();
            }
        }
        // SAFETY: made in `reclaimer`, and not freed while this thread is busy with it.
        if let Some(free) = unsafe { self.free.load(Ordering::Acquire).as_ref() } {
            let abort = AbortOnUnwind;
            free(missing);
            core::mem::forget(abort);
        }
    }
}
