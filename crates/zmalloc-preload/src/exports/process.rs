//! The ways to end a process past its destructors, and to fork past the handlers.
#![allow(clippy::missing_safety_doc, reason = "the system's contracts")]

use crate::{end, fork, start};
use core::ffi::{CStr, c_int, c_void};
use core::mem::transmute;
use zmalloc::ledger;

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
    match real(c"quick_exit") {
        // SAFETY: C's function of that name.
        Some(real) => unsafe { transmute::<*mut c_void, unsafe extern "C" fn(c_int) -> !>(real)(code) },
        None => exit_now(code),
    }
}

/// A fork that runs no handlers: ours run all the same.
#[unsafe(no_mangle)]
unsafe extern "C" fn _Fork() -> libc::pid_t {
    let Some(real) = real(c"_Fork") else {
        crate::errno::set(libc::ENOSYS);
        return -1;
    };
    if !start::ready() {
        // SAFETY: C's function of that name.
        return unsafe { transmute::<*mut c_void, unsafe extern "C" fn() -> libc::pid_t>(real)() };
    }
    ledger::before_fork();
    fork::before();
    // SAFETY: C's function of that name.
    let child = unsafe { transmute::<*mut c_void, unsafe extern "C" fn() -> libc::pid_t>(real)() };
    if child == 0 {
        fork::after_in_child();
        ledger::after_fork_in_child();
    } else {
        fork::after_in_parent();
        ledger::after_fork_in_parent();
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

fn real(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: a name that ends with 0.
    let function = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    (!function.is_null()).then_some(function)
}
