//! Fork: the child starts with the one thread that forked, an open lock, and no counters of threads that are gone.

use super::local::local;
use super::once::Once;

/// Has the C library tell us of every fork from now on. Called before the lock is first taken.
#[inline]
pub(crate) fn watch() {
    static WATCHED: Once<()> = Once::new();
    // Where that fails there is no memory at all, and a fork goes on with what it finds.
    let _ = WATCHED.get(|| {
        // SAFETY: the handlers follow their C signature and never unwind.
        unsafe { libc::pthread_atfork(Some(before), Some(after_in_parent), Some(after_in_child)) };
        Some(())
    });
}

/// Around a fork that runs no handlers, like `_Fork`: before it. A plain `fork` needs none of the three.
pub extern "C" fn before() {
    let local = local();
    if local.busy.replace(true) {
        // The lock stays with the section that a signal handler interrupted to fork.
        local.forks_within.set(true);
    } else {
        super::pool().lock();
    }
}

/// Around a fork that runs no handlers: after it in the parent, or if it failed.
pub extern "C" fn after_in_parent() {
    let local = local();
    if !local.forks_within.replace(false) {
        super::pool().unlock();
        local.busy.set(false);
    }
}

/// Around a fork that runs no handlers: after it in the child.
pub extern "C" fn after_in_child() {
    let local = local();
    super::pool().keep_only(local.slot.get());
    if !local.forks_within.replace(false) {
        super::pool().unlock();
        local.busy.set(false);
    }
}
