//! Memory that the program maps itself, past the allocator, counted to the page.
//!
//! Counted is private anonymous memory that the program may access: made by `mmap` with any access, or given access
//! later by `mprotect`; and what it takes by `brk` and `sbrk`. Not counted are reservations without access, files and
//! shared memory; what the C library maps for itself, like threads' stacks; what the allocator beneath maps, told by
//! the address that it calls from; and system calls made past the C library.
//!
//! A signal handler that maps memory while it interrupted this bookkeeping of its own thread goes uncounted.

mod calls;
mod limited;
mod table;

#[cfg(not(test))]
pub(crate) use calls::{brk, mmap, mprotect, mremap, munmap, sbrk};

use crate::global::Global;
use crate::object::Object;
use crate::{beneath, session};
use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering};
use table::{Change, Table};

static TABLE: Global<Table> = Global::new(Table::new());
/// The allocator beneath, and this object, whose own mappings do not count.
static EXEMPT: Global<[Object; 2]> = Global::new([Object::NONE; 2]);
/// What the program took by `brk` and `sbrk`.
static BREAK: AtomicUsize = AtomicUsize::new(0);

/// Prepares, while starting.
pub(crate) fn begin() {
    // SAFETY: nobody else looks before the start is done.
    unsafe { *EXEMPT.get() = [beneath::object(), Object::of(begin as *const c_void)] };
}

/// Has it count toward the limit as well, if that is wanted: once there is one.
pub(crate) fn begin_limit() {
    limited::begin(session::segment().map_or(0, |segment| segment.mapped()));
}

/// Whether the code at `caller` is the program's, so that what it maps counts.
fn is_program(caller: *const c_void) -> bool {
    // SAFETY: written only by `begin`.
    unsafe { !(*EXEMPT.get()).iter().any(|object| object.contains(caller)) }
}

/// Works on the table, and counts what that changed. `None` inside a signal handler that interrupted just that.
fn with_table<R>(work: impl FnOnce(&mut Table, &mut Change) -> R) -> Option<R> {
    if !acquire() {
        return None;
    }
    let mut change = Change::default();
    // SAFETY: the lock is held, and not by a caller further up.
    let result = work(unsafe { &mut *TABLE.get() }, &mut change);
    note(change);
    release();
    // Not with the table held: a fork takes the ledger's lock first.
    limited::count(change.charged, change.credited);
    Some(result)
}

fn note(change: Change) {
    let Some(segment) = session::segment() else { return };
    if change.charged > change.credited {
        segment.charge_mapped(change.charged - change.credited);
    } else if change.credited > change.charged {
        segment.credit_mapped(change.credited - change.charged);
    }
}

/// Counts a move of the program's break.
fn count_break(from: usize, to: usize) {
    let change = if to >= from {
        BREAK.fetch_add(to - from, Ordering::Relaxed);
        Change { charged: to - from, credited: 0 }
    } else {
        // What the program gives back beyond what it took was the C library's.
        let mut credited = 0;
        let _ = BREAK.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            credited = taken.min(from - to);
            Some(taken - credited)
        });
        Change { charged: 0, credited }
    };
    note(change);
    limited::count(change.charged, change.credited);
}

/// The thread that holds the table, or 0.
static HOLDER: AtomicUsize = AtomicUsize::new(0);

/// False if this thread holds it already: in a signal handler, which must not wait for itself.
fn acquire() -> bool {
    // SAFETY: no conditions.
    let me = unsafe { libc::pthread_self() } as usize;
    loop {
        match HOLDER.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => return true,
            Err(holder) if holder == me => return false,
            // SAFETY: no conditions.
            Err(_) => unsafe { libc::sched_yield() },
        };
    }
}

fn release() {
    HOLDER.store(0, Ordering::Release);
}

/// Forks by signal handlers that interrupted the bookkeeping, or a fork: the lock stays with what they interrupted. Only
/// its holder looks.
static WITHIN: AtomicUsize = AtomicUsize::new(0);

/// Before a fork: a child must not begin with a lock whose holder is not there.
pub(crate) fn lock() {
    if !acquire() {
        WITHIN.store(WITHIN.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// After a fork, on both sides.
pub(crate) fn unlock() {
    match WITHIN.load(Ordering::Relaxed) {
        0 => release(),
        within => WITHIN.store(within - 1, Ordering::Relaxed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forks_within_each_other_leave_the_lock_to_what_they_interrupted() {
        with_table(|_, _| {
            lock();
            lock();
            unlock();
            unlock();
            assert!(!acquire(), "still held here");
        });
        assert!(acquire());
        release();
    }
}
