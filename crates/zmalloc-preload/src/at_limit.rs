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
        return;
    }
    // A share is less than that, or becomes so; what the process uses already stays the tree's matter.
    ledger::give_back_share(0);
    ledger::set_limit(|| ledger::limit_bytes().min(bytes));
}

/// Notes that something is about to be refused, and does what is to be done then. True if it is worth to ask again.
#[cold]
pub(crate) fn is_reached() -> bool {
    let _errno = KeepErrno::new();
    session::note_refusal();
    match ACTION.load(Ordering::Relaxed) {
        REPORT => {
            tree::leave();
            ledger::set_limit(|| usize::MAX);
            true
        }
        STOP => {
            // One thread stops all.
            if ACTION.compare_exchange(STOP, STOPPED, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                signal(libc::SIGSTOP);
                // It may have been given more meanwhile.
                requests::look();
            }
            true
        }
        KILL => {
            signal(libc::SIGKILL);
            false
        }
        _ => false,
    }
}

fn signal(number: i32) {
    // SAFETY: to this process, which has no handler for these.
    unsafe { libc::kill(libc::getpid(), number) };
}
