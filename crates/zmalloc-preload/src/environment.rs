//! The environment, read without `getenv` and without std: the first call may come before the C library has set it up.

use core::ffi::{CStr, c_char};

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// The value of a variable, if the environment is there and has it.
pub(crate) fn value(name: &str) -> Option<&'static [u8]> {
    // SAFETY: the C library's variable: null, or a list of strings that ends with null. Read while starting, before
    // any thread of the program could change it.
    unsafe {
        let mut entry = environ;
        if entry.is_null() {
            return None;
        }
        while !(*entry).is_null() {
            let text = CStr::from_ptr::<'static>(*entry).to_bytes();
            if let Some(value) = text.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")) {
                return Some(value);
            }
            entry = entry.add(1);
        }
    }
    None
}
