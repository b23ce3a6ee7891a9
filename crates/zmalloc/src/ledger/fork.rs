//! Fork: the child starts with the one thread that forked, an open lock, and no counters of threads that are gone.

use super::local::local;
use super::once::Once;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// Has the C library tell us of every fork from now on. Called before the lock is first taken.
#[inline]
pub(crate) fn watch() {
    static WATCHED: Once = Once::new();
    // Where that fails there is no memory at all, and a fork goes on with what it finds. Threads that come at once have
    // us told more than once, which is as a fork within a fork.
    let _ = WATCHED.get(
        || {
            // SAFETY: the handlers follow their C signature and never unwind.
            unsafe { libc::pthread_atfork(Some(before), Some(after_in_parent), Some(after_in_child)) };
            Some(0)
        },
        |_| {},
    );
}

/// Forks inside a section with the lock held: of signal handlers, which leave it to what they interrupted. Only the
/// lock's holder looks.
static WITHIN: AtomicU32 = AtomicU32::new(0);

/// Around a fork that runs no handlers, like `_Fork`: before it. A plain `fork` needs none of the three.
pub extern "C" fn before() {
    let pool = super::pool();
    if pool.is_locked_here() {
        WITHIN.store(WITHIN.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    } else {
        pool.lock();
    }
}

/// Around a fork that runs no handlers: after it in the parent, or if it failed.
pub extern "C" fn after_in_parent() {
    match WITHIN.load(Ordering::Relaxed) {
        0 => super::pool().unlock(),
        within => WITHIN.store(within - 1, Ordering::Relaxed),
    }
}

/// Around a fork that runs no handlers: after it in the child.
pub extern "C" fn after_in_child() {
    super::pool().keep_only(local().own.get());
    after_in_parent();
    GENERATION.fetch_add(1, Ordering::Relaxed);
    let in_child = IN_CHILD.load(Ordering::Relaxed);
    if !in_child.is_null() {
        // SAFETY: only `in_children` stores here, and only such a function.
        unsafe { core::mem::transmute::<*mut (), fn()>(in_child)() };
    }
}

static GENERATION: AtomicU32 = AtomicU32::new(1);

/// How many forks this process comes from, and one: what was held by another generation is held by a thread that is not here.
pub(crate) fn generation() -> u32 {
    watch();
    GENERATION.load(Ordering::Relaxed)
}

static IN_CHILD: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Has a function called in forked children, which neither allocates nor waits.
pub(crate) fn in_children(call: fn()) {
    watch();
    IN_CHILD.store(call as *mut (), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::super::{pool, test_child, totals};
    use core::sync::atomic::{AtomicBool, AtomicI32, Ordering};
    use std::os::unix::thread::JoinHandleExt;

    static IN_HANDLER: AtomicBool = AtomicBool::new(false);
    static CHILD: AtomicI32 = AtomicI32::new(-1);

    extern "C" fn fork_here(_: libc::c_int) {
        IN_HANDLER.store(true, Ordering::Release);
        // SAFETY: the child only goes on with what was interrupted, and leaves.
        let child = unsafe { libc::fork() };
        if child == 0 {
            test_child::watched();
        }
        CHILD.store(child, Ordering::Release);
    }

    #[test]
    fn a_handler_forks_while_its_thread_waits_for_the_lock() {
        totals();
        // SAFETY: a handler that only forks; nobody else here uses the signal.
        unsafe { libc::signal(libc::SIGUSR2, fork_here as *const () as libc::sighandler_t) };
        pool().lock();
        let waiting = std::thread::spawn(|| {
            totals();
            if CHILD.load(Ordering::Acquire) == 0 {
                totals();
                test_child::leave();
            }
        });
        let pause = || std::thread::sleep(std::time::Duration::from_millis(50));
        pause();
        // SAFETY: a thread that waits for the lock.
        unsafe { libc::pthread_kill(waiting.as_pthread_t(), libc::SIGUSR2) };
        while !IN_HANDLER.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        // Time to fork without the lock.
        pause();
        pool().unlock();
        waiting.join().unwrap();
        assert!(test_child::ended_well(CHILD.load(Ordering::Acquire)));
    }

    #[test]
    fn handlers_that_fork_within_each_other_leave_the_lock_to_whom_they_interrupted() {
        // As a section, interrupted by a handler that forks, interrupted by another one.
        super::super::guard::with_pool(|pool| {
            pool.lock();
            super::before();
            super::before();
            super::after_in_parent();
            super::after_in_parent();
            assert!(pool.is_locked_here());
            pool.unlock();
        });
    }
}
