//! No fork while the thread copies: in the child the locks that it takes for that would be held for ever.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Once;

static HELD: AtomicBool = AtomicBool::new(false);

/// Runs `section` while no other thread forks.
pub(super) fn within(section: impl FnOnce()) {
    acquire();
    section();
    release();
}

/// Has the C library tell us of every fork from now on.
pub(super) fn watch_forks() {
    static WATCHED: Once = Once::new();
    // SAFETY: the handlers follow their C signature and never unwind.
    WATCHED.call_once(|| unsafe { _ = libc::pthread_atfork(Some(acquire), Some(release), Some(release)) });
}

/// Waits for a copy, or for another fork: some microseconds. Neither thread can be in a signal handler of the other.
extern "C" fn acquire() {
    while HELD.swap(true, Ordering::Acquire) {
        std::thread::yield_now();
    }
}

extern "C" fn release() {
    HELD.store(false, Ordering::Release);
}
