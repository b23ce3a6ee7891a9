//! An allocator's version, kept without allocating.

use core::fmt;

/// A version such as `5.3.1`, stored in place so that asking for it never allocates.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Version {
    text: [u8; Version::CAPACITY],
    length: u8,
}

impl Version {
    const CAPACITY: usize = 31;

    /// The allocator does not tell its version.
    pub const UNKNOWN: Version = Version { text: [0; Version::CAPACITY], length: 0 };

    /// Keeps the leading part of `text` that is graphic ASCII, at most 31 bytes of it.
    pub const fn new(text: &[u8]) -> Version {
        let mut version = Version::UNKNOWN;
        let mut i = 0;
        while i < text.len() && i < Version::CAPACITY && text[i].is_ascii_graphic() {
            version.text[i] = text[i];
            i += 1;
        }
        version.length = i as u8;
        version
    }

    /// The version `major.minor.patch`.
    pub fn from_numbers(major: u32, minor: u32, patch: u32) -> Version {
        struct Text(Version);
        impl fmt::Write for Text {
            fn write_str(&mut self, part: &str) -> fmt::Result {
                for &byte in part.as_bytes() {
                    let at = usize::from(self.0.length);
                    *self.0.text.get_mut(at).ok_or(fmt::Error)? = byte;
                    self.0.length += 1;
                }
                Ok(())
            }
        }
        let mut text = Text(Version::UNKNOWN);
        // Three u32 and two dots may be longer than the capacity; then the text is cut, which no real version meets.
        let _ = fmt::Write::write_fmt(&mut text, format_args!("{major}.{minor}.{patch}"));
        text.0
    }

    /// The text, empty if unknown.
    pub fn as_str(&self) -> &str {
        // Only graphic ASCII is ever stored.
        core::str::from_utf8(&self.text[..usize::from(self.length)]).unwrap_or("")
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.length == 0 { "unknown" } else { self.as_str() })
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn keeps_the_graphic_start() {
        assert_eq!(Version::new(b"5.3.1-0-g8103\0junk").as_str(), "5.3.1-0-g8103");
        assert_eq!(Version::new(&[b'x'; 99]).as_str().len(), 31);
        assert_eq!(Version::UNKNOWN.to_string(), "unknown");
        assert_eq!(Version::from_numbers(3, 3, 2).as_str(), "3.3.2");
    }
}
