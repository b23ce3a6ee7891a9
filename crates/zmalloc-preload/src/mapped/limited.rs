//! The limit on what the program maps itself, where `zm` has it counted with the heap: asked for before it is mapped.

use crate::errno::KeepErrno;
use crate::{at_limit, environment};
use core::sync::atomic::{AtomicBool, Ordering};
use zmalloc::ledger::{self, LIMIT_MAPPED_VARIABLE};

static COUNTS: AtomicBool = AtomicBool::new(false);

/// Looks what the environment says, while starting; `mapped` bytes are there by then.
pub(super) fn begin(mapped: u64) {
    if environment::value(LIMIT_MAPPED_VARIABLE) == Some(b"1") {
        COUNTS.store(true, Ordering::Relaxed);
        ledger::add_beside(mapped as usize);
    }
}

/// Bytes that were taken of the limit for a call that is about to be made; they go back when it was made and counted.
pub(super) struct Ahead(usize);

impl Ahead {
    /// `None` if there are not so many: then the call is to fail with `ENOMEM`.
    pub(super) fn take(bytes: usize) -> Option<Ahead> {
        if bytes == 0 || !COUNTS.load(Ordering::Relaxed) {
            return Some(Ahead(0));
        }
        let _errno = KeepErrno::new();
        let ask = || ledger::take_beside(bytes);
        (ask() || (at_limit::is_reached() && ask())).then(|| Ahead(bytes))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if self.0 > 0 {
            let _errno = KeepErrno::new();
            ledger::give_back_beside(self.0);
        }
    }
}

/// What was counted as mapped, or as mapped no more.
pub(super) fn count(charged: usize, credited: usize) {
    if COUNTS.load(Ordering::Relaxed) {
        let _errno = KeepErrno::new();
        if charged > credited {
            ledger::add_beside(charged - credited);
        } else {
            ledger::give_back_beside(credited - charged);
        }
    }
}
