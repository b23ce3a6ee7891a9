//! Starting the program: a fork and an execvp by hand, so that it gets exactly the environment, signals and
//! descriptors that it would have had without zm.

use super::inherited::Inherited;
use crate::error::Error;
use std::borrow::Cow;
use std::ffi::{CString, OsStr, OsString, c_char};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr::null;

/// A variable to change: its new value, or none to take it away.
pub type Change = (Cow<'static, str>, Option<OsString>);

/// What is put in place of standard input, output and error; those of zm, where there is none.
pub type Streams = [Option<File>; 3];

/// Starts `program`, with the environment changed so; gives its pid.
pub fn launch(
    program: &[OsString],
    changes: &[Change],
    streams: &Streams,
    inherited: &Inherited,
) -> Result<libc::pid_t, Error> {
    let arguments: Vec<CString> = program.iter().map(|argument| c_string(argument)).collect::<Result<_, _>>()?;
    let environment = environment(changes)?;
    let (arguments, environment) = (pointers(&arguments), pointers(&environment));

    let [from_child, to_parent] = pipe()?;
    // SAFETY: zm has one thread, and the child does nothing but async-signal-safe calls until it is another program.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        inherited.restore();
        for (number, stream) in (0..).zip(streams) {
            if let Some(stream) = stream {
                // SAFETY: two descriptors; the copy is kept on exec.
                unsafe { libc::dup2(stream.as_raw_fd(), number) };
            }
        }
        // SAFETY: arrays of strings, each ended by a null pointer. What follows only runs when that failed.
        unsafe {
            libc::execvpe(arguments[0], arguments.as_ptr(), environment.as_ptr());
            let error = *libc::__errno_location();
            libc::write(to_parent, (&raw const error).cast(), size_of_val(&error));
            libc::_exit(127);
        }
    }
    let error = io::Error::last_os_error();
    // SAFETY: ours, and used no more.
    unsafe { libc::close(to_parent) };
    // SAFETY: ours, and from here on the file's.
    let mut from_child = unsafe { File::from_raw_fd(from_child) };
    if pid < 0 {
        return Err(Error::System("no process can be started", error));
    }
    // Closed without a word by the execvp that succeeds.
    let mut number = [0; 4];
    if from_child.read_exact(&mut number).is_err() {
        return Ok(pid);
    }
    // SAFETY: our child, which is on its way out.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    let error = io::Error::from_raw_os_error(i32::from_ne_bytes(number));
    Err(Error::Start(program[0].to_string_lossy().into_owned(), error))
}

/// The environment as it is, in its order, with changed variables at the end.
fn environment(changes: &[Change]) -> Result<Vec<CString>, Error> {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    let mut variables = Vec::new();
    // SAFETY: zm has one thread, and does not change its environment.
    let mut next = unsafe { environ };
    // SAFETY: the environment is an array of strings ended by a null pointer, or is not there.
    while let Some(variable) = unsafe { next.as_ref() }.filter(|variable| !variable.is_null()) {
        // SAFETY: not null, so a string.
        let variable = unsafe { std::ffi::CStr::from_ptr(*variable) };
        let key = variable.to_bytes().split(|&byte| byte == b'=').next().unwrap_or_default();
        if changes.iter().all(|(changed, _)| changed.as_bytes() != key) {
            variables.push(variable.to_owned());
        }
        // SAFETY: not yet at the null pointer.
        next = unsafe { next.add(1) };
    }
    for (key, value) in changes {
        if let Some(value) = value {
            let mut variable = OsString::from(format!("{key}="));
            variable.push(value);
            variables.push(c_string(&variable)?);
        }
    }
    Ok(variables)
}

fn c_string(text: &OsStr) -> Result<CString, Error> {
    CString::new(text.as_bytes()).map_err(|_| Error::ZeroByte)
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([null()]).collect()
}

fn pipe() -> Result<[RawFd; 2], Error> {
    let mut ends = [0; 2];
    // SAFETY: space for two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(Error::System("no pipe can be made", io::Error::last_os_error()));
    }
    Ok(ends)
}
