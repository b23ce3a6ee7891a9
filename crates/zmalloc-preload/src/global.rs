//! A value in a static that whoever may write it says so.

use core::cell::UnsafeCell;

/// A static value without a lock: each use says why nobody else uses it meanwhile.
#[repr(transparent)]
pub(crate) struct Global<T>(UnsafeCell<T>);

// SAFETY: every access goes through the raw pointer of `get`, whose users keep to one writer at a time.
unsafe impl<T> Sync for Global<T> {}

impl<T> Global<T> {
    pub(crate) const fn new(value: T) -> Global<T> {
        Global(UnsafeCell::new(value))
    }

    pub(crate) const fn get(&self) -> *mut T {
        self.0.get()
    }
}
