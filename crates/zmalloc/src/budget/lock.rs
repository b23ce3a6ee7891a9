//! A lock that a forked child does not find held by a thread that it does not have.

use crate::ledger;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering};

/// A value, and the lock around it: for sections of a few instructions that neither allocate nor wait.
pub(super) struct ForkLock<T> {
    /// The generation of processes in which it is held; 0 for not held.
    held_in: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by who holds the lock alone.
unsafe impl<T: Send> Sync for ForkLock<T> {}

impl<T> ForkLock<T> {
    pub(super) const fn new(value: T) -> Self {
        ForkLock { held_in: AtomicU32::new(0), value: UnsafeCell::new(value) }
    }

    /// Runs a section with the lock held. What a thread of the parent was about to store when a child was forked, the child
    /// may find stored or not: a section changes its value in one step.
    pub(super) fn with<R>(&self, section: impl FnOnce(&mut T) -> R) -> R {
        let generation = ledger::generation();
        let enter = |held_in: u32| (held_in != generation).then_some(generation);
        while self.held_in.fetch_update(Ordering::Acquire, Ordering::Relaxed, enter).is_err() {
            std::thread::yield_now();
        }
        // SAFETY: the lock is held.
        let result = section(unsafe { &mut *self.value.get() });
        self.held_in.store(0, Ordering::Release);
        result
    }
}
