//! Functions of the C library that ours stand before, found while starting: the loader's look-up takes its lock and may
//! allocate, which a signal handler or a forked child must not.

use crate::errno::KeepErrno;
use core::ffi::{CStr, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

/// A function of the C library's.
pub(crate) struct Real {
    name: &'static CStr,
    /// Null if it was not looked for, or is not there.
    function: AtomicPtr<c_void>,
}

impl Real {
    pub(crate) const fn new(name: &'static CStr) -> Real {
        Real { name, function: AtomicPtr::new(null_mut()) }
    }

    /// The function, or `None` if this C library has none.
    pub(crate) fn get(&self) -> Option<*mut c_void> {
        let mut function = self.function.load(Ordering::Relaxed);
        if function.is_null() {
            function = self.find();
        }
        (!function.is_null()).then_some(function)
    }

    /// Looks it up.
    pub(crate) fn find(&self) -> *mut c_void {
        let _errno = KeepErrno::new();
        // SAFETY: a name that ends with 0.
        let function = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        if function.is_null() {
            // What failed here is none of the program's business: take the message back, and then its memory.
            // SAFETY: no conditions.
            unsafe {
                libc::dlerror();
                libc::dlerror();
            }
        }
        self.function.store(function, Ordering::Relaxed);
        function
    }
}
