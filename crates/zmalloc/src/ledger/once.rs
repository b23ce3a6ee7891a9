//! A value made once, without a lock that parks or allocates.

use super::sync::relax;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering};

/// A value that the first caller makes. Making it takes a few hundred instructions and waits for nothing of ours, so
/// whoever comes meanwhile yields until it is there.
pub(crate) struct Once<T> {
    state: AtomicU32,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the value is written by the one thread that took the state from NEW to MAKING, and read after MADE.
unsafe impl<T: Send + Sync> Sync for Once<T> {}

const NEW: u32 = 0;
const MAKING: u32 = 1;
const MADE: u32 = 2;

impl<T: Copy> Once<T> {
    pub(crate) const fn new() -> Once<T> {
        Once { state: AtomicU32::new(NEW), value: UnsafeCell::new(None) }
    }

    /// The value, or `None` if making it failed.
    #[inline]
    pub(crate) fn get(&self, make: impl FnOnce() -> Option<T>) -> Option<T> {
        if self.state.load(Ordering::Acquire) != MADE {
            self.fill(make);
        }
        // SAFETY: MADE was read, after which nobody writes.
        unsafe { *self.value.get() }
    }

    #[cold]
    fn fill(&self, make: impl FnOnce() -> Option<T>) {
        if self.state.compare_exchange(NEW, MAKING, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            // SAFETY: only the thread that made the exchange comes here, and nobody reads before MADE.
            unsafe { *self.value.get() = make() };
            self.state.store(MADE, Ordering::Release);
            return;
        }
        while self.state.load(Ordering::Acquire) != MADE {
            relax();
        }
    }
}
