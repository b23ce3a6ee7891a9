//! What is wrong with bytes that were to be taken for a value.

use core::fmt;

/// Bytes that are not what they were said to be: what is wrong, and where.
///
/// ```
/// use zmalloc_values::Listpack;
///
/// let error = Listpack::<zmalloc_values::Global>::from_bytes(&[8, 0, 0, 0, 1, 0, 5, 0xFF]).unwrap_err();
/// assert_eq!(error.to_string(), "listpack, byte 6: the length behind the entry is not that of the entry");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatError {
    /// The format they were to have, like `listpack`.
    pub format: &'static str,
    /// The offset of what is wrong, in bytes.
    pub at: usize,
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, byte {}: {}", self.format, self.at, self.what)
    }
}

impl core::error::Error for FormatError {}

/// The `N` bytes at an offset, if they are all there.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}
