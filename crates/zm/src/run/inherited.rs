//! What zm was started with and has to hand on as it was: how signals are handled, and which are blocked.

use std::mem::{MaybeUninit, zeroed};
use std::ptr::{null, null_mut};

/// The signal mask and dispositions at the start of `zm`.
pub struct Inherited {
    mask: libc::sigset_t,
    actions: [(libc::c_int, libc::sigaction); OWN.len()],
}

/// The dispositions that zm needs for itself.
const OWN: [(libc::c_int, libc::sighandler_t); 5] = [
    // A reader of our table may go away; the program's exit status shall still be passed on.
    (libc::SIGPIPE, libc::SIG_IGN),
    // Ignored, it would have the kernel throw the exit status away.
    (libc::SIGCHLD, libc::SIG_DFL),
    // zm stops as its program was stopped.
    (libc::SIGTSTP, libc::SIG_DFL),
    (libc::SIGTTIN, libc::SIG_DFL),
    (libc::SIGTTOU, libc::SIG_DFL),
];

impl Inherited {
    /// Remembers, and sets what zm needs. Called once, before anything else.
    pub fn take() -> Inherited {
        // SAFETY: all of these are plain data, for which zero is a value.
        let (mut mask, mut actions) = unsafe { (zeroed(), [(0, zeroed::<libc::sigaction>()); OWN.len()]) };
        // SAFETY: asks only; the answer has its place.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, null(), &mut mask) };
        for (saved, (signal, handler)) in actions.iter_mut().zip(OWN) {
            // SAFETY: plain data.
            let mut action: libc::sigaction = unsafe { zeroed() };
            action.sa_sigaction = handler;
            saved.0 = signal;
            // SAFETY: a signal that can be handled, and one of the two standard handlers.
            unsafe { libc::sigaction(signal, &action, &mut saved.1) };
        }
        Inherited { mask, actions }
    }

    /// In the child, before it becomes the program: as if zm had not been there. Only async-signal-safe calls.
    pub fn restore(&self) {
        for (signal, action) in &self.actions {
            // SAFETY: an action that the kernel gave us for this signal.
            unsafe { libc::sigaction(*signal, action, null_mut()) };
        }
        // SAFETY: a mask that the kernel gave us.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &self.mask, null_mut()) };
    }
}

/// A set of signals.
pub fn set_of(signals: &[libc::c_int]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` makes it a set, and these are signals.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        signals.iter().for_each(|&signal| _ = libc::sigaddset(set.as_mut_ptr(), signal));
        set.assume_init()
    }
}
