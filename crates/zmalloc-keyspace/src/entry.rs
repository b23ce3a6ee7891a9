//! How an entry lies in memory.
//!
//! ```text
//!  ┌────────┬─────────────┬───────────────┬────────────┬──────────┬─────┬───────┬─────────┐
//!  │ header │ key length  │ value length  │ deadline   │ access   │ key │ value │ to four │
//!  │ 2 bytes│ 4, if long  │ 4, if long    │ 4, if any  │ 4, LRU,  │     │       │ bytes   │
//!  │        │             │               │            │ LFU only │     │       │         │
//!  └────────┴─────────────┴───────────────┴────────────┴──────────┴─────┴───────┴─────────┘
//! ```
//!
//! The header has six bits for each length, of which the highest value says that it follows, two for what the value is, one that
//! says that there is a deadline, and one that the wheel knows of it.

/// Entries are as long as a multiple of this, and begin at one: places are counted in it.
pub(crate) const UNIT: usize = 4;
/// A length from here on follows the header.
const LONG: usize = 63;
const DEADLINE: u16 = 1 << 12;
/// It is in the wheel.
const NOTED: u16 = 1 << 15;
const FORM_SHIFT: u32 = 13;

/// What the value's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The value.
    Bytes,
    /// Where it is among the long values.
    Long,
    /// Where it is among the objects.
    Object,
}

/// An entry, to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub form: Form,
    pub key: &'a [u8],
    pub value: &'a [u8],
    /// As [`Deadline`](super::deadline::Deadline) has it.
    pub deadline: Option<u32>,
    /// When or how often it was used, where the policy wants to know.
    pub access: u32,
    /// Bytes that it takes.
    pub size: usize,
    /// Where the deadline is, if any, and where the access is, if it is kept.
    after_lengths: usize,
    value_at: usize,
}

/// An entry, to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewEntry<'a> {
    pub form: Form,
    pub key: &'a [u8],
    pub value: &'a [u8],
    pub deadline: Option<u32>,
    /// `None` where the policy does not want to know.
    pub access: Option<u32>,
}

impl NewEntry<'_> {
    /// Bytes that it takes.
    pub(crate) fn size(&self) -> usize {
        self.bytes().next_multiple_of(UNIT)
    }

    /// Without what fills it up.
    fn bytes(&self) -> usize {
        let long = |length: usize| if length < LONG { 0 } else { 4 };
        let words = 4 * (usize::from(self.deadline.is_some()) + usize::from(self.access.is_some()));
        2 + long(self.key.len()) + long(self.value.len()) + words + self.key.len() + self.value.len()
    }

    /// Writes it, by calls of `put`.
    pub(crate) fn write(&self, mut put: impl FnMut(&[u8])) {
        let [key, value] = [self.key.len(), self.value.len()];
        let short = |length: usize| length.min(LONG) as u16;
        let deadline = if self.deadline.is_some() { DEADLINE } else { 0 };
        let header = short(key) | short(value) << 6 | deadline | (self.form as u16) << FORM_SHIFT;
        put(&header.to_le_bytes());
        for length in [key, value].into_iter().filter(|&length| length >= LONG) {
            put(&(length as u32).to_le_bytes());
        }
        for word in [self.deadline, self.access].into_iter().flatten() {
            put(&word.to_le_bytes());
        }
        put(self.key);
        put(self.value);
        put(&[0; UNIT][..self.size() - self.bytes()]);
    }
}

/// Whether the wheel has an item for the entry that begins here.
pub(crate) fn is_noted(bytes: &[u8]) -> bool {
    u16::from_le_bytes([bytes[0], bytes[1]]) & NOTED != 0
}

pub(crate) fn set_noted(bytes: &mut [u8], noted: bool) {
    let header = u16::from_le_bytes([bytes[0], bytes[1]]) & !NOTED | if noted { NOTED } else { 0 };
    bytes[..2].copy_from_slice(&header.to_le_bytes());
}

fn word_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

impl<'a> Entry<'a> {
    /// The entry that begins here; `has_access` as it was written.
    #[inline]
    pub(crate) fn parse(bytes: &'a [u8], has_access: bool) -> Entry<'a> {
        let header = u16::from_le_bytes([bytes[0], bytes[1]]);
        let mut at = 2;
        let mut length = |short: u16| {
            let short = usize::from(short & LONG as u16);
            if short < LONG {
                return short;
            }
            at += 4;
            word_at(bytes, at - 4) as usize
        };
        let (key_length, value_length) = (length(header), length(header >> 6));
        let after_lengths = at;
        let mut deadline = None;
        if header & DEADLINE != 0 {
            deadline = Some(word_at(bytes, at));
            at += 4;
        }
        let mut access = 0;
        if has_access {
            access = word_at(bytes, at);
            at += 4;
        }
        let value_at = at + key_length;
        let end = value_at + value_length;
        let form = match header >> FORM_SHIFT & 3 {
            0 => Form::Bytes,
            1 => Form::Long,
            _ => Form::Object,
        };
        Entry {
            form,
            key: &bytes[at..value_at],
            value: &bytes[value_at..end],
            deadline,
            access,
            size: end.next_multiple_of(UNIT),
            after_lengths,
            value_at,
        }
    }

    /// Where its value begins.
    pub(crate) fn value_at(&self) -> usize {
        self.value_at
    }

    /// Where its deadline is; it has one.
    pub(crate) fn deadline_at(&self) -> usize {
        self.after_lengths
    }

    /// Where its access is, which is kept.
    pub(crate) fn access_at(&self) -> usize {
        self.after_lengths + if self.deadline.is_some() { 4 } else { 0 }
    }

    /// The number that the value is, of a form that is one.
    pub(crate) fn index(&self) -> u32 {
        word_at(self.value, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let texts: Vec<Vec<u8>> = [0, 1, 14, 62, 63, 64, 300, 70_000].map(|n| vec![7; n]).into();
        for (key, value) in texts.iter().flat_map(|key| texts.iter().map(move |value| (key, value))) {
            for (deadline, access) in [(None, None), (Some(5), None), (None, Some(6)), (Some(u32::MAX), Some(0))] {
                for form in [Form::Bytes, Form::Long, Form::Object] {
                    let new = NewEntry { form, key, value, deadline, access };
                    let mut bytes = Vec::new();
                    new.write(|part| bytes.extend_from_slice(part));
                    assert_eq!((bytes.len(), bytes.len() % UNIT), (new.size(), 0));
                    bytes.extend_from_slice(&[0xff; 8]);
                    let read = Entry::parse(&bytes, access.is_some());
                    assert_eq!((read.form, read.key, read.value), (form, &key[..], &value[..]));
                    assert_eq!((read.deadline, read.access, read.size), (deadline, access.unwrap_or(0), new.size()));
                    assert!(access.is_none() || word_at(&bytes, read.access_at()) == read.access);
                    assert!(deadline.is_none() || word_at(&bytes, read.deadline_at()) == deadline.unwrap());
                }
            }
        }
    }

    #[test]
    fn a_small_entry_is_24_bytes_and_28_with_a_deadline() {
        let (key, value) = (b"key:0123456789", &[0; 8]);
        let new = NewEntry { form: Form::Bytes, key, value, deadline: None, access: None };
        assert_eq!((new.size(), NewEntry { deadline: Some(1), ..new }.size()), (24, 28));
    }
}
