//! jemalloc's table of settings and figures, by name.

use core::ffi::{CStr, c_void};
use core::ptr::null_mut;
use tikv_jemalloc_sys as sys;

/// The index that stands for all arenas together: `MALLCTL_ARENAS_ALL`.
pub(super) const ALL_ARENAS: usize = 4096;

/// Reads one value.
pub(super) fn read<T>(name: &CStr, value: &mut T) -> bool {
    let mut length = size_of::<T>();
    // SAFETY: the name ends with 0, and jemalloc writes at most `length` bytes, refusing if its value has another size.
    unsafe { sys::mallctl(name.as_ptr(), (&raw mut *value).cast(), &mut length, null_mut(), 0) == 0 }
}

/// Writes one value.
pub(super) fn write<T: Copy>(name: &CStr, mut value: T) -> bool {
    // SAFETY: the name ends with 0, and jemalloc reads the value only if it has the size that it expects.
    unsafe {
        sys::mallctl(name.as_ptr(), null_mut(), null_mut(), (&raw mut value).cast::<c_void>(), size_of::<T>()) == 0
    }
}

/// Runs an entry that takes and gives no value, like a purge.
pub(super) fn run(name: &CStr) -> bool {
    // SAFETY: the name ends with 0; no value is read or written.
    unsafe { sys::mallctl(name.as_ptr(), null_mut(), null_mut(), null_mut(), 0) == 0 }
}

/// A figure in the unit of the table: bytes, or pages.
pub(super) fn figure(name: &CStr) -> Option<usize> {
    let mut value = 0usize;
    read(name, &mut value).then_some(value)
}

/// Brings the figures up to date: jemalloc answers with those of the last epoch.
pub(super) fn refresh() -> bool {
    write(c"epoch", 1u64)
}

/// An entry under a name with numbers in it, found once and then asked by place.
#[derive(Clone, Copy)]
pub(super) struct Entry<const PARTS: usize>([usize; PARTS]);

impl<const PARTS: usize> Entry<PARTS> {
    /// Finds an entry by its name, whose numbers are any that exist.
    pub(super) fn find(name: &CStr) -> Option<Self> {
        let mut place = [0usize; PARTS];
        let mut parts = PARTS;
        // SAFETY: the name ends with 0, and jemalloc writes at most `parts` numbers.
        let found = unsafe { sys::mallctlnametomib(name.as_ptr(), place.as_mut_ptr(), &mut parts) == 0 };
        (found && parts == PARTS).then_some(Entry(place))
    }

    /// The same entry with another number at this part of its name.
    pub(super) fn at(mut self, part: usize, number: usize) -> Self {
        self.0[part] = number;
        self
    }

    /// Reads its value, if it has this type's size.
    pub(super) fn read<T: Default>(&self) -> Option<T> {
        let mut value = T::default();
        let mut length = size_of::<T>();
        // SAFETY: as in `read` above; the place has as many parts as it says.
        let done = unsafe {
            sys::mallctlbymib(self.0.as_ptr(), PARTS, (&raw mut value).cast(), &mut length, null_mut(), 0) == 0
        };
        done.then_some(value)
    }
}
