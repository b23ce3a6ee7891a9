//! Files by system call, without a heap.

use super::lines::Source;
use super::path::Path;
use core::ffi::c_int;

/// An open file, closed on drop and not handed on to a program that is run.
pub(super) struct File(c_int);

impl File {
    pub(super) fn open(path: &Path) -> Option<File> {
        // SAFETY: the path ends with 0.
        let open = || unsafe { libc::open(path.as_c_str().as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        match uninterrupted(|| open() as isize) {
            -1 => None,
            descriptor => Some(File(descriptor as c_int)),
        }
    }
}

impl Source for File {
    fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        // SAFETY: the buffer is writable for its length.
        let read = || unsafe { libc::read(self.0, buffer.as_mut_ptr().cast(), buffer.len()) };
        usize::try_from(uninterrupted(read)).ok()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours. An interrupted close has closed it too.
        unsafe { libc::close(self.0) };
    }
}

/// What a file has, as far as the buffer holds it.
pub(super) fn read_start<'b>(path: &Path, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let mut file = File::open(path)?;
    let mut length = 0;
    // A full buffer asks for 0 bytes, and gets them.
    loop {
        match file.read(&mut buffer[length..])? {
            0 => return Some(&buffer[..length]),
            more => length += more,
        }
    }
}

/// The answer of a system call that no signal cut short.
fn uninterrupted(mut call: impl FnMut() -> isize) -> isize {
    loop {
        let result = call();
        if result != -1 || std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return result;
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::uninterrupted;

    fn failing(code: i32) -> isize {
        // SAFETY: this thread's own.
        unsafe { *libc::__errno_location() = code };
        -1
    }

    #[test]
    fn an_interrupted_call_is_made_again() {
        let mut answers = [failing as fn(i32) -> isize, failing, |_| 7].into_iter();
        assert_eq!(uninterrupted(|| answers.next().unwrap()(libc::EINTR)), 7);
        assert_eq!(uninterrupted(|| failing(libc::EACCES)), -1);
    }
}
