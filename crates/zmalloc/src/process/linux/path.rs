//! A path built in place.

use core::ffi::CStr;
use core::fmt::{self, Write};

/// A path of at most 1023 bytes, ready for C. One that would be longer is given up, so the figure behind it is unknown.
pub(super) struct Path {
    /// Zero from `length` on, which is below the capacity; no zero before.
    bytes: [u8; Path::CAPACITY],
    length: usize,
}

impl Path {
    const CAPACITY: usize = 1024;

    pub(super) const fn new() -> Path {
        Path { bytes: [0; Path::CAPACITY], length: 0 }
    }

    /// The parts, one behind the other.
    pub(super) fn of(parts: &[&[u8]]) -> Option<Path> {
        let mut path = Path::new();
        parts.iter().try_for_each(|part| path.push(part.iter().copied()))?;
        Some(path)
    }

    /// The file `name` of a process in `/proc`.
    pub(super) fn of_process(pid: Option<u32>, name: &str) -> Option<Path> {
        let mut path = Path::new();
        match pid {
            None => write!(path, "/proc/self/{name}").ok()?,
            Some(pid) => write!(path, "/proc/{pid}/{name}").ok()?,
        }
        Some(path)
    }

    /// Appends, or answers `None`, when a part of it may have been appended.
    pub(super) fn push(&mut self, part: impl IntoIterator<Item = u8>) -> Option<()> {
        for byte in part {
            if byte == 0 || self.length + 1 == Path::CAPACITY {
                return None;
            }
            self.bytes[self.length] = byte;
            self.length += 1;
        }
        Some(())
    }

    pub(super) fn truncate(&mut self, length: usize) {
        if length < self.length {
            self.bytes[length..self.length].fill(0);
            self.length = length;
        }
    }

    /// Goes up to the directory above, unless the path has only `top` bytes left.
    pub(super) fn ascend(&mut self, top: usize) -> bool {
        if self.length <= top {
            return false;
        }
        let slash = self.as_bytes()[top..].iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        self.truncate(top + slash);
        true
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    pub(super) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }
}

impl Write for Path {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.push(part.bytes()).ok_or(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::Path;

    #[test]
    fn is_built_and_climbed() {
        assert_eq!(Path::of_process(None, "stat").unwrap().as_c_str(), c"/proc/self/stat");
        assert_eq!(Path::of_process(Some(42), "smaps").unwrap().as_c_str(), c"/proc/42/smaps");
        let mut path = Path::of(&[b"/top", b"/a/b"]).unwrap();
        assert!(path.ascend(4));
        assert_eq!(path.as_c_str(), c"/top/a");
        assert!(path.ascend(4));
        assert_eq!(path.as_c_str(), c"/top");
        assert!(!path.ascend(4));
        path.truncate(99);
        assert_eq!(path.as_bytes(), b"/top");
    }

    #[test]
    fn refuses_what_does_not_fit() {
        assert_eq!(Path::of(&[&[b'x'; 1023]]).unwrap().as_c_str().to_bytes().len(), 1023);
        assert!(Path::of(&[&[b'x'; 1024]]).is_none());
        assert!(Path::of(&[b"a\0b"]).is_none());
    }
}
