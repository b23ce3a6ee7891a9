//! `errno`, which belongs to the program: what we do for ourselves leaves it alone.

/// `errno` as it was, restored on drop.
pub(crate) struct KeepErrno(i32);

impl KeepErrno {
    pub(crate) fn new() -> KeepErrno {
        KeepErrno(get())
    }
}

impl Drop for KeepErrno {
    fn drop(&mut self) {
        set(self.0);
    }
}

pub(crate) fn get() -> i32 {
    // SAFETY: the address is the calling thread's errno.
    unsafe { *libc::__errno_location() }
}

pub(crate) fn set(code: i32) {
    // SAFETY: the address is the calling thread's errno.
    unsafe { *libc::__errno_location() = code };
}
