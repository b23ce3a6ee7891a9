//! What a packed list holds: bytes, kept as an integer where they are the text of one.

use alloc::borrow::Cow;
use core::cmp::Ordering;
use core::fmt;

/// An element of a list: bytes, or the integer that they are the text of.
///
/// Equal, and ordered, as the bytes are. Made from bytes it is an integer exactly when the bytes are what that integer is
/// written as, so nothing is lost.
///
/// ```
/// use zmalloc_values::Element;
///
/// assert_eq!(Element::from("-12"), Element::Integer(-12));
/// assert_eq!(Element::from("007"), Element::Bytes(b"007"));
/// assert_eq!(&*Element::Integer(-12).bytes(), b"-12");
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Element<'a> {
    /// The text of an integer.
    Integer(i64),
    /// Any other bytes.
    Bytes(&'a [u8]),
}

impl<'a> Element<'a> {
    /// The bytes; an integer's text is made anew.
    pub fn bytes(&self) -> Cow<'a, [u8]> {
        match *self {
            Element::Integer(integer) => Cow::Owned(itoa::Buffer::new().format(integer).as_bytes().to_vec()),
            Element::Bytes(bytes) => Cow::Borrowed(bytes),
        }
    }

    /// Calls `read` with the bytes; nothing is allocated.
    pub fn with_bytes<R>(&self, read: impl FnOnce(&[u8]) -> R) -> R {
        match *self {
            Element::Integer(integer) => read(itoa::Buffer::new().format(integer).as_bytes()),
            Element::Bytes(bytes) => read(bytes),
        }
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.with_bytes(<[u8]>::len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The integer that the bytes are the text of.
    pub fn integer(&self) -> Option<i64> {
        match *self {
            Element::Integer(integer) => Some(integer),
            Element::Bytes(bytes) => parse_integer(bytes),
        }
    }
}

/// The integer whose text these bytes are: no sign but `-`, no leading zero, no space.
///
/// ```
/// use zmalloc_values::parse_integer;
///
/// assert_eq!(parse_integer(b"-9223372036854775808"), Some(i64::MIN));
/// assert_eq!(["", "-0", "+1", "01", " 1", "9223372036854775808"].map(|text| parse_integer(text.as_bytes())), [None; 6]);
/// ```
pub fn parse_integer(bytes: &[u8]) -> Option<i64> {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    match digits {
        [b'0'] if digits.len() == bytes.len() => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 && digits.iter().all(u8::is_ascii_digit) => {}
        _ => return None,
    }
    core::str::from_utf8(bytes).ok()?.parse().ok()
}

impl<'a> From<&'a [u8]> for Element<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        parse_integer(bytes).map_or(Element::Bytes(bytes), Element::Integer)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Element<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Element::from(&bytes[..])
    }
}

impl<'a> From<&'a str> for Element<'a> {
    fn from(text: &'a str) -> Self {
        Element::from(text.as_bytes())
    }
}

impl From<i64> for Element<'_> {
    fn from(integer: i64) -> Self {
        Element::Integer(integer)
    }
}

impl PartialEq for Element<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (*self, *other) {
            (Element::Integer(one), Element::Integer(two)) => one == two,
            (Element::Bytes(one), Element::Bytes(two)) => one == two,
            // Another program may have kept an integer as its text.
            (Element::Integer(one), Element::Bytes(two)) | (Element::Bytes(two), Element::Integer(one)) => {
                parse_integer(two) == Some(one)
            }
        }
    }
}

impl Eq for Element<'_> {}

impl PartialOrd for Element<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Element<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.with_bytes(|one| other.with_bytes(|two| one.cmp(two)))
    }
}

impl fmt::Display for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Integer(integer) => integer.fmt(f),
            Element::Bytes(bytes) => bytes.escape_ascii().fmt(f),
        }
    }
}
