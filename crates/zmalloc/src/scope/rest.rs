//! How many of a scope's bytes were freed elsewhere, and when that was the last of them.

#[cfg(not(loom))]
use core::sync::atomic::{AtomicI64, Ordering};
#[cfg(loom)]
use loom::sync::atomic::{AtomicI64, Ordering};

/// Bytes that a scope owned and others freed, given back by any thread at any time.
///
/// While somebody refers to the scope the balance is those bytes, below 0. After that nobody adds to what the scope holds, so
/// that is added to the balance, which is then what is left: who takes it to 0 gave back the last block.
pub(crate) struct Rest(AtomicI64);

impl Rest {
    pub(crate) fn new() -> Rest {
        Rest(AtomicI64::new(0))
    }

    /// Gives bytes back. True if nothing is left of a scope that nobody refers to: said once.
    pub(crate) fn give_back(&self, bytes: u64) -> bool {
        self.0.fetch_sub(bytes as i64, Ordering::AcqRel) == bytes as i64
    }

    /// From now on watches for the end of what the scope holds: `held` before anything was given back. False if nothing is
    /// left already.
    pub(crate) fn watch(&self, held: i64) -> bool {
        self.0.fetch_add(held, Ordering::AcqRel).wrapping_add(held) > 0
    }

    /// Takes back what `watch` added.
    pub(crate) fn stop_watching(&self, held: i64) {
        self.0.fetch_sub(held, Ordering::AcqRel);
    }

    /// The bytes given back, less what `watch` added.
    #[inline]
    pub(crate) fn given_back(&self) -> u64 {
        self.0.load(Ordering::Acquire).wrapping_neg() as u64
    }

    /// The bytes given back, which are forgotten.
    pub(crate) fn take(&self) -> u64 {
        self.0.swap(0, Ordering::AcqRel).wrapping_neg() as u64
    }
}
