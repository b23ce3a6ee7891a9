//! What is written into the caller's memory: texts as `snprintf` does, and structures that may grow.

use core::ffi::{c_char, c_int};
use core::fmt::{Display, Write};

/// What the header calls `ZMALLOC_UNKNOWN`.
pub(crate) const UNKNOWN: u64 = u64::MAX;

/// What the header calls `ZMALLOC_NO_LIMIT`.
pub(crate) const NO_LIMIT: u64 = u64::MAX;

pub(crate) fn or_unknown(figure: Option<usize>) -> u64 {
    figure.map_or(UNKNOWN, |bytes| bytes as u64)
}

/// Writes what fits of a text, and an end; answers the length of the whole.
///
/// # Safety
/// `place` is writable for `capacity` bytes, or null with a capacity of 0.
pub(crate) unsafe fn write_text(text: &impl Display, place: *mut c_char, capacity: usize) -> usize {
    let mut buffer = Buffer { place, capacity, length: 0 };
    let _ = write!(buffer, "{text}");
    buffer.finish()
}

/// Fills a structure that begins with its size, as far as the caller's goes, and its size with the bytes filled: 0, or -1
/// if it is null or smaller than `smallest`.
///
/// # Safety
/// 1. `Structure` is plain C, and its first member is its size as a `size_t`.
/// 2. `place` is null, or that member can be read and as many bytes as it says be written.
pub(crate) unsafe fn fill<Structure>(
    place: *mut Structure,
    smallest: usize,
    told: impl FnOnce() -> Structure,
) -> c_int {
    if place.is_null() {
        return -1;
    }
    // SAFETY: its first member, by 1 and 2.
    let size = unsafe { place.cast::<usize>().read() };
    if size < smallest {
        return -1;
    }
    let (told, filled) = (told(), size.min(size_of::<Structure>()));
    // SAFETY: no more than the caller's structure has, by 2, nor than ours.
    unsafe {
        place.cast::<u8>().copy_from_nonoverlapping((&raw const told).cast(), filled);
        place.cast::<usize>().write(filled);
    }
    0
}

/// Text into the caller's buffer, cut where it ends; counts what the whole text would take.
struct Buffer {
    place: *mut c_char,
    capacity: usize,
    length: usize,
}

impl Buffer {
    /// Writes the end that C wants, and answers the length of the whole text.
    fn finish(self) -> usize {
        if self.capacity > 0 {
            // SAFETY: within the capacity, which is writable.
            unsafe { self.place.add(self.length.min(self.capacity - 1)).write(0) };
        }
        self.length
    }
}

impl Write for Buffer {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let room = self.capacity.saturating_sub(1).saturating_sub(self.length);
        if room > 0 {
            // SAFETY: within the capacity, which is writable, and no part of the text.
            unsafe { self.place.add(self.length).copy_from_nonoverlapping(text.as_ptr().cast(), text.len().min(room)) };
        }
        self.length += text.len();
        Ok(())
    }
}
