//! The ways to become another program. Noted, as one that is not counted says nothing itself: without the note the
//! process would look killed.
//!
//! Not noted: `posix_spawn` and its kind, whose child never had a ledger, and system calls past the C library.
#![allow(clippy::missing_safety_doc, reason = "the system's contracts")]

use crate::real::Real;
use crate::{session, tree};
use core::ffi::{c_char, c_int, c_void};
use core::mem::transmute;
use zmalloc::ledger;

type Strings = *const *const c_char;
type Named = unsafe extern "C" fn(*const c_char, Strings) -> c_int;
type NamedWith = unsafe extern "C" fn(*const c_char, Strings, Strings) -> c_int;
type Opened = unsafe extern "C" fn(c_int, Strings, Strings) -> c_int;
type Within = unsafe extern "C" fn(c_int, *const c_char, Strings, Strings, c_int) -> c_int;

static EXECVE: Real = Real::new(c"execve");
static EXECV: Real = Real::new(c"execv");
static EXECVEAT: Real = Real::new(c"execveat");
static EXECVP: Real = Real::new(c"execvp");
static EXECVPE: Real = Real::new(c"execvpe");
static FEXECVE: Real = Real::new(c"fexecve");

/// A forked child of many threads may call these, and not the loader.
pub(super) fn find() {
    [&EXECVE, &EXECV, &EXECVEAT, &EXECVP, &EXECVPE, &FEXECVE].iter().for_each(|real| _ = real.find());
}

/// Notes that this process becomes another program while `exec` tries, by the real function, which may be that of
/// another preloaded library; what comes back has failed.
fn noted(real: &Real, exec: impl FnOnce(*mut c_void) -> c_int) -> c_int {
    let Some(function) = real.get() else {
        crate::errno::set(libc::ENOSYS);
        return -1;
    };
    // Not in a `vfork` child, which has its parent's memory.
    let Some(segment) = session::of_this_process() else { return exec(function) };
    segment.note_exec(true);
    let mut exec = Some(exec);
    let mut run = || exec.take().map_or(-1, |exec| exec(function));
    // No other thread is to be taken away in a change of the tree's budget.
    let locked = if tree::is_shared() { ledger::with_lock(&mut run) } else { None };
    let failed = locked.unwrap_or_else(run);
    segment.note_exec(false);
    failed
}

#[unsafe(no_mangle)]
unsafe extern "C" fn execve(path: *const c_char, arguments: Strings, environment: Strings) -> c_int {
    // SAFETY: C's function of that name, and the program's call as it made it.
    noted(&EXECVE, |real| unsafe { transmute::<*mut c_void, NamedWith>(real)(path, arguments, environment) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn execv(path: *const c_char, arguments: Strings) -> c_int {
    // SAFETY: C's function of that name, and the program's call as it made it.
    noted(&EXECV, |real| unsafe { transmute::<*mut c_void, Named>(real)(path, arguments) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn execveat(
    folder: c_int,
    path: *const c_char,
    arguments: Strings,
    environment: Strings,
    flags: c_int,
) -> c_int {
    // SAFETY: C's function of that name, and the program's call as it made it.
    noted(&EXECVEAT, |real| unsafe {
        transmute::<*mut c_void, Within>(real)(folder, path, arguments, environment, flags)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn execvp(file: *const c_char, arguments: Strings) -> c_int {
    // SAFETY: C's function of that name, and the program's call as it made it.
    noted(&EXECVP, |real| unsafe { transmute::<*mut c_void, Named>(real)(file, arguments) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn execvpe(file: *const c_char, arguments: Strings, environment: Strings) -> c_int {
    // SAFETY: C's function of that name, and the program's call as it made it.
    noted(&EXECVPE, |real| unsafe { transmute::<*mut c_void, NamedWith>(real)(file, arguments, environment) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fexecve(file: c_int, arguments: Strings, environment: Strings) -> c_int {
    // SAFETY: C's function of that name, and the program's call as it made it.
    noted(&FEXECVE, |real| unsafe { transmute::<*mut c_void, Opened>(real)(file, arguments, environment) })
}

/// Exports a function whose arguments are a list in the call itself: five of them in registers, which are put in front of
/// those on the stack, so that they are an array there.
#[cfg(target_arch = "x86_64")]
macro_rules! listed {
    ($($name:ident = $inner:path;)*) => { $(
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(path: *const c_char) -> c_int {
            core::arch::naked_asm!(
                // The return address, which is in the way.
                "pop rax",
                "push r9",
                "push r8",
                "push rcx",
                "push rdx",
                "push rsi",
                "mov rsi, rsp",
                // Aligns the stack as well.
                "push rax",
                "call {inner}",
                "pop rcx",
                "add rsp, 40",
                "push rcx",
                "ret",
                inner = sym $inner
            )
        }
    )* };
}

#[cfg(target_arch = "x86_64")]
listed! {
    execl = execv;
    execlp = execvp;
    execle = execv_then_environment;
}

/// C's `execle`: the environment comes behind the null pointer that ends the arguments.
#[cfg(target_arch = "x86_64")]
unsafe extern "C" fn execv_then_environment(path: *const c_char, arguments: Strings) -> c_int {
    let mut end = arguments;
    // SAFETY: the program's list, which ends with a null pointer and the environment.
    unsafe {
        while !(*end).is_null() {
            end = end.add(1);
        }
        execve(path, arguments, end.add(1).cast::<Strings>().read())
    }
}
