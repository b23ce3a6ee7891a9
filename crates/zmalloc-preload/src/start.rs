//! The start: at the first call of the family, or when the loader runs our constructor, whichever comes first.

use crate::errno::KeepErrno;
use crate::{at_limit, beneath, fork, mapped, session};
use core::sync::atomic::{AtomicUsize, Ordering};

const NOT_YET: usize = 0;
const DONE: usize = 1;

/// `NOT_YET`, `DONE`, or in between the thread that is starting.
static STARTING: AtomicUsize = AtomicUsize::new(NOT_YET);

/// Starts, or waits until another thread has. False inside the start itself: then nothing beneath can be called yet.
#[cold]
pub(crate) fn ready() -> bool {
    // SAFETY: no conditions. The address of the thread's descriptor, so above `DONE`.
    let me = unsafe { libc::pthread_self() } as usize;
    loop {
        match STARTING.compare_exchange(NOT_YET, me, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => {
                start();
                STARTING.store(DONE, Ordering::Release);
                return true;
            }
            Err(DONE) => return true,
            Err(starting) if starting == me => return false,
            // SAFETY: no conditions.
            Err(_) => unsafe { libc::sched_yield() },
        };
    }
}

fn start() {
    let _errno = KeepErrno::new();
    let name = beneath::find();
    // Before the ledger's own handlers, and before those of the allocator beneath: in a child ours come first.
    fork::watch();
    #[cfg(not(test))]
    crate::exports::find();
    session::open(name);
    mapped::begin();
    beneath::begin();
    at_limit::begin();
    mapped::begin_limit();
}

/// A program whose first call comes late, or never, is published as well.
#[cfg(not(test))]
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = {
    extern "C" fn at_load() {
        ready();
    }
    at_load
};
