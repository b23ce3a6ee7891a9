//! The ways to end a process past its destructors, and to fork past the handlers.
#![allow(clippy::missing_safety_doc, reason = "the system's contracts")]

use crate::real::Real;
use crate::{at_limit, end, fork, start, tree};
use core::ffi::{c_int, c_void};
use core::mem::transmute;
use zmalloc::ledger;

static QUICK_EXIT: Real = Real::new(c"quick_exit");
static FORK: Real = Real::new(c"fork");
static FORK_ALONE: Real = Real::new(c"_Fork");

/// Finds what may be called in a signal handler.
pub(crate) fn find() {
    FORK.find();
    FORK_ALONE.find();
}

#[unsafe(no_mangle)]
unsafe extern "C" fn _exit(code: c_int) -> ! {
    exit_now(code)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn _Exit(code: c_int) -> ! {
    exit_now(code)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn quick_exit(code: c_int) -> ! {
    end::note();
    match QUICK_EXIT.get() {
        // SAFETY: C's function of that name.
        Some(real) => unsafe { transmute::<*mut c_void, unsafe extern "C" fn(c_int) -> !>(real)(code) },
        None => exit_now(code),
    }
}

/// A fork that the tree's budget may refuse; the handlers of [`fork`](crate::fork) run within.
#[unsafe(no_mangle)]
unsafe extern "C" fn fork() -> libc::pid_t {
    forked(&FORK, |real| real())
}

/// A fork that runs no handlers: ours run all the same.
#[unsafe(no_mangle)]
unsafe extern "C" fn _Fork() -> libc::pid_t {
    forked(&FORK_ALONE, |real| {
        ledger::before_fork();
        fork::before();
        let child = real();
        if child == 0 {
            fork::after_in_child();
            ledger::after_fork_in_child();
        } else {
            fork::after_in_parent();
            ledger::after_fork_in_parent();
        }
        child
    })
}

/// Forks by the real function, unless the tree's budget has not what the child would hold.
fn forked(real: &Real, fork: impl FnOnce(&dyn Fn() -> libc::pid_t) -> libc::pid_t) -> libc::pid_t {
    let Some(real) = real.get() else {
        crate::errno::set(libc::ENOSYS);
        return -1;
    };
    // SAFETY: C's function of that name.
    let real = || unsafe { transmute::<*mut c_void, unsafe extern "C" fn() -> libc::pid_t>(real)() };
    if !start::ready() {
        return real();
    }
    let is_reserved = tree::reserve() || (at_limit::is_reached() && tree::reserve());
    if !is_reserved {
        crate::errno::set(libc::ENOMEM);
        return -1;
    }
    let child = fork(&real);
    if child != 0 {
        tree::forked(child);
    }
    child
}

fn exit_now(code: c_int) -> ! {
    end::note();
    loop {
        // SAFETY: no conditions.
        unsafe { libc::syscall(libc::SYS_exit_group, code) };
    }
}
