//! The limit that `zm` set, and what is to be done when it is reached.

use crate::errno::KeepErrno;
use crate::{environment, requests, session, tree};
use core::sync::atomic::{AtomicU8, Ordering};
use zmalloc::ledger::{self, AT_LIMIT_VARIABLE, LIMIT_VARIABLE};

/// The call answers null.
const REFUSE: u8 = 0;
/// It is noted, and nothing is refused any more.
const REPORT: u8 = 1;
/// The process stops, once, until somebody continues it; then it is asked again.
const STOP: u8 = 2;
/// The process ends.
const KILL: u8 = 3;
/// As `REFUSE`, after a stop.
const STOPPED: u8 = 4;

static ACTION: AtomicU8 = AtomicU8::new(REFUSE);

/// Sets the limits that the environment and the session give to this process. Whatever is no number of bytes is none.
pub(crate) fn begin() {
    let action = match environment::value(AT_LIMIT_VARIABLE) {
        Some(b"report") => REPORT,
        Some(b"stop") => STOP,
        Some(b"kill") => KILL,
        _ => REFUSE,
    };
    ACTION.store(action, Ordering::Relaxed);
    let limit = environment::value(LIMIT_VARIABLE).filter(|digits| !digits.is_empty()).and_then(|digits| {
        digits.iter().try_fold(0usize, |bytes, digit| {
            let digit = digit.is_ascii_digit().then(|| usize::from(digit - b'0'))?;
            bytes.checked_mul(10)?.checked_add(digit)
        })
    });
    if let Some(bytes) = tree::begin(limit) {
        ledger::set_limit(|| bytes);
    }
}

/// Sets the limit of this process by itself, while it runs.
pub(crate) fn set(bytes: Option<usize>) {
    let bytes = bytes.unwrap_or(usize::MAX);
    if !tree::set_own_limit(bytes) {
        ledger::set_limit(|| bytes);
    }
}

/// In a forked child, which may stop once as well.
pub(crate) fn after_fork_in_child() {
    let _ = ACTION.compare_exchange(STOPPED, STOP, Ordering::Relaxed, Ordering::Relaxed);
}

/// Something is about to be refused: does what is to be done then. True if it is worth to ask again.
#[cold]
pub(crate) fn is_reached() -> bool {
    let _errno = KeepErrno::new();
    // In a signal handler that interrupted the ledger nobody could ask.
    if ledger::with_lock(|| ()).is_none() {
        return false;
    }
    // It may have been given more by now.
    if requests::look() {
        return true;
    }
    session::note_refusal();
    tree::note_refusal();
    match ACTION.load(Ordering::Relaxed) {
        REPORT => {
            tree::leave();
            ledger::set_limit(|| usize::MAX);
            true
        }
        STOP => {
            // With the ledger's lock held, so that no other thread is stopped in a change of the tree's budget.
            ledger::with_lock(|| {
                let first = ACTION.compare_exchange(STOP, STOPPED, Ordering::Relaxed, Ordering::Relaxed);
                if first.is_ok() {
                    // SAFETY: to this thread, which has no handler for it; all others stop with it.
                    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), libc::SIGSTOP) };
                }
            });
            requests::look();
            true
        }
        STOPPED => true,
        KILL => {
            // SAFETY: to this process.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
            false
        }
        _ => false,
    }
}
