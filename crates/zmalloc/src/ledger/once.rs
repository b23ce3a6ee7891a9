//! A number made once, without a lock: nobody waits for whoever makes it, who may be a thread that a forked child does not
//! have, or that a signal handler interrupted.

use core::sync::atomic::{AtomicUsize, Ordering};

/// A number that the first callers make.
pub(crate) struct Once(AtomicUsize);

const NEW: usize = 0;
const FAILED: usize = 1;
/// Added to the number that was made.
const MADE: usize = 2;

impl Once {
    pub(crate) const fn new() -> Once {
        Once(AtomicUsize::new(NEW))
    }

    /// The number, or `None` if making it failed. Threads that come at once make one each: the first that is done is
    /// kept, and `discard` gets the others.
    #[inline]
    pub(crate) fn get(&self, make: impl FnOnce() -> Option<usize>, discard: impl FnOnce(usize)) -> Option<usize> {
        let state = match self.0.load(Ordering::Acquire) {
            NEW => self.fill(make, discard),
            state => state,
        };
        state.checked_sub(MADE)
    }

    #[cold]
    fn fill(&self, make: impl FnOnce() -> Option<usize>, discard: impl FnOnce(usize)) -> usize {
        let made = make();
        let state = made.map_or(FAILED, |number| number + MADE);
        match self.0.compare_exchange(NEW, state, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => state,
            Err(first) => {
                if let Some(spare) = made {
                    discard(spare);
                }
                first
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_child;
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn a_child_forked_while_another_thread_makes_the_value_has_one() {
        static ONCE: Once = Once::new();
        let (making, forked) = (Barrier::new(2), Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                ONCE.get(
                    || {
                        making.wait();
                        forked.wait();
                        Some(7)
                    },
                    |_| {},
                )
            });
            making.wait();
            // SAFETY: the child only does what is safe there.
            let child = unsafe { libc::fork() };
            if child == 0 {
                test_child::watched();
                if ONCE.get(|| Some(8), |_| {}) == Some(8) {
                    test_child::leave();
                }
            }
            forked.wait();
            assert!(test_child::ended_well(child));
        });
        assert_eq!(ONCE.get(|| Some(9), |_| {}), Some(7));
    }

    #[test]
    fn of_two_that_are_made_at_once_one_is_discarded() {
        let (once, mut discarded) = (Once::new(), None);
        // As in a signal handler that comes while the first is made.
        let first = once.get(
            || {
                assert_eq!(once.get(|| Some(3), |_| {}), Some(3));
                Some(4)
            },
            |number| discarded = Some(number),
        );
        assert_eq!((first, discarded), (Some(3), Some(4)));
        let failed = Once::new();
        assert_eq!((failed.get(|| None, |_| {}), failed.get(|| Some(1), |_| {})), (None, None));
    }
}
