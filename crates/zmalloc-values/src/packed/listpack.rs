//! The listpack: each entry ends with its own length.

use super::sealed::{Content, Entry, Rules};
use super::{END, Element, Format, FormatError, Memory, Packed, Range, Sds};
use crate::error::array;
use crate::memory::Global;

/// A list in one block whose entries say their own length at either end, so that none depends on a neighbour.
///
/// ```text
///  bytes   elements   entries                                      end
/// ┌───────┬──────────┬──────────┬──────────┬───────────┬───┬──────┐
/// │ 4     │ 2        │ entry    │ entry    │ entry     │ … │ 0xFF │      numbers little endian
/// └───────┴──────────┴──────────┴──────────┴───────────┴───┴──────┘
///           65,535: unknown        │
///            ┌─────────────────────┘
///            ▼
///  encoding            bytes or integer    length of the two
/// ┌───────────────────┬───────────────────┬──────────────────┐
/// │ 1, 2 or 5         │                   │ 1 to 5           │
/// └───────────────────┴───────────────────┴──────────────────┘
///  0vvvvvvv             the integer 0 to 127      read from its end: 7 bits a byte,
///  10llllll             up to 63 bytes            the high bit says that more are before
///  110vvvvv v           an integer of 13 bits
///  1110llll l           up to 4095 bytes
///  F0 llll              up to 4 GiB
///  F1 F2 F3 F4          an integer of 16, 24, 32, 64 bits
/// ```
///
/// An entry takes 2 bytes more than its own while it is short. To insert or remove one moves those behind, and changes no other.
///
/// The calls are those of [`Packed`].
pub type Listpack<M = Global> = Packed<ListpackFormat, M>;

/// The format of [`Listpack`].
pub struct ListpackFormat;

impl Format for ListpackFormat {}

const fn error(at: usize, what: &'static str) -> FormatError {
    FormatError { format: ListpackFormat::NAME, at, what }
}

impl Rules for ListpackFormat {
    const NAME: &'static str = "listpack";
    const HEADER_BYTES: usize = 6;
    const COUNT_AT: usize = 4;
    const OVERHEAD_BYTES_MAX: usize = 10;

    fn empty() -> &'static [u8] {
        &[7, 0, 0, 0, 0, 0, END]
    }

    fn decode(bytes: &[u8], at: usize) -> Result<Entry, FormatError> {
        const CUT_OFF: &str = "the entry is cut off";
        let cut_off = || error(at, CUT_OFF);
        let first = *bytes.get(at).ok_or_else(cut_off)?;
        let integer = |integer: i64, length| (Content::Integer(integer), length);
        let (content, length) = match first {
            0..0x80 => integer(first.into(), 1),
            0x80..0xC0 => string(at, 1, usize::from(first & 0x3F)).ok_or_else(cut_off)?,
            0xC0..0xE0 => {
                let [high, low] = array(bytes, at).ok_or_else(cut_off)?;
                // The 13 bits at the top, so that the shift extends their sign.
                integer((i16::from_be_bytes([high, low]) << 3 >> 3).into(), 2)
            }
            0xE0..0xF0 => {
                let [high, low] = array(bytes, at).ok_or_else(cut_off)?;
                string(at, 2, usize::from(u16::from_be_bytes([high, low]) & 0xFFF)).ok_or_else(cut_off)?
            }
            0xF0 => {
                let length = u32::from_le_bytes(array(bytes, at + 1).ok_or_else(cut_off)?);
                string(at, 5, length as usize).ok_or_else(cut_off)?
            }
            0xF1 => integer(i16::from_le_bytes(array(bytes, at + 1).ok_or_else(cut_off)?).into(), 3),
            0xF2 => {
                let [low, middle, high] = array(bytes, at + 1).ok_or_else(cut_off)?;
                integer((i32::from_le_bytes([0, low, middle, high]) >> 8).into(), 4)
            }
            0xF3 => integer(i32::from_le_bytes(array(bytes, at + 1).ok_or_else(cut_off)?).into(), 5),
            0xF4 => integer(i64::from_le_bytes(array(bytes, at + 1).ok_or_else(cut_off)?), 9),
            0xF5.. => return Err(error(at, "no such encoding")),
        };
        let back = BackLength::of(length);
        let behind = at.checked_add(length).ok_or_else(cut_off)?;
        let end = behind.checked_add(back.bytes().len()).ok_or_else(cut_off)?;
        if bytes.get(behind..end).ok_or_else(cut_off)? != back.bytes() {
            return Err(error(at, "the length behind the entry is not that of the entry"));
        }
        Ok(Entry { content, end })
    }

    fn check_link(_: &[u8], _: Option<usize>, _: usize) -> Result<(), FormatError> {
        Ok(())
    }

    fn check_header(_: &[u8], _: Option<usize>) -> Result<(), FormatError> {
        Ok(())
    }

    fn previous(bytes: &[u8], at: usize) -> Option<usize> {
        if at <= Self::HEADER_BYTES {
            return None;
        }
        let (mut length, mut read) = (0, 0);
        loop {
            let byte = bytes[at - 1 - read];
            length |= usize::from(byte & 0x7F) << (7 * read);
            read += 1;
            if byte & 0x80 == 0 || read == 5 {
                return Some(at - length - read);
            }
        }
    }

    fn splice<M: Memory>(bytes: &mut Sds<M>, range: Range<usize>, element: Option<Element<'_>>) {
        let start = range.start;
        match element {
            None => bytes.resize_range(range, 0),
            Some(element) => {
                let (head, head_length) = encode(element);
                let (head, data) = match element {
                    Element::Bytes(data) => (&head[..head_length], data),
                    Element::Integer(_) => (&head[..head_length], &[][..]),
                };
                let back = BackLength::of(head.len() + data.len());
                bytes.resize_range(range, head.len() + data.len() + back.bytes().len());
                write_all(&mut bytes[start..], &[head, data, back.bytes()]);
            }
        }
        let total = bytes.len() as u32;
        bytes[..4].copy_from_slice(&total.to_le_bytes());
    }
}

impl<M: Memory> Listpack<M> {
    /// Leaves the elements before a position, and answers those from it on.
    pub fn split_off(&mut self, position: super::Position) -> Self {
        let mut behind = Self::new();
        let moved = position.0..self.end();
        behind.bytes.replace_range(Self::START..Self::START, &self.bytes[moved.clone()]);
        self.bytes.resize_range(moved, 0);
        for half in [self, &mut behind] {
            let total = half.bytes.len() as u32;
            half.bytes[..4].copy_from_slice(&total.to_le_bytes());
            let count = u16::try_from(half.iter().count()).unwrap_or(super::COUNT_UNKNOWN);
            half.bytes[4..6].copy_from_slice(&count.to_le_bytes());
        }
        behind
    }

    const START: usize = ListpackFormat::HEADER_BYTES;
}

/// Bytes behind an encoding of `head` bytes at `at`, and the length of both.
fn string(at: usize, head: usize, length: usize) -> Option<(Content, usize)> {
    let (start, both) = (at.checked_add(head)?, head.checked_add(length)?);
    Some((Content::Bytes(start..start.checked_add(length)?), both))
}

/// What precedes the bytes of an element, or holds its integer; and the length of that.
fn encode(element: Element<'_>) -> ([u8; 9], usize) {
    let mut head = [0; 9];
    let parts: &[&[u8]] = match element {
        Element::Integer(integer) => match integer {
            0..=127 => &[&[integer as u8]],
            -4096..=4095 => &[&(integer as u16 & 0x1FFF | 0xC000).to_be_bytes()],
            -0x8000..=0x7FFF => &[&[0xF1], &(integer as i16).to_le_bytes()],
            -0x80_0000..=0x7F_FFFF => &[&[0xF2], &(integer as i32).to_le_bytes()[..3]],
            -0x8000_0000..=0x7FFF_FFFF => &[&[0xF3], &(integer as i32).to_le_bytes()],
            _ => &[&[0xF4], &integer.to_le_bytes()],
        },
        Element::Bytes(bytes) => match bytes.len() {
            length @ 0..64 => &[&[0x80 | length as u8]],
            length @ 64..4096 => &[&(length as u16 | 0xE000).to_be_bytes()],
            length => &[&[0xF0], &(length as u32).to_le_bytes()],
        },
    };
    let length = write_all(&mut head, parts);
    (head, length)
}

/// Writes parts one behind the other, and answers their length.
fn write_all(to: &mut [u8], parts: &[&[u8]]) -> usize {
    let mut at = 0;
    for part in parts {
        to[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    at
}

/// The length behind an entry.
struct BackLength {
    bytes: [u8; 5],
    length: usize,
}

impl BackLength {
    fn of(entry: usize) -> Self {
        // Redis takes one byte more than it would have to just below each of these.
        let length = match entry {
            0..=127 => 1,
            128..16_383 => 2,
            16_383..2_097_151 => 3,
            2_097_151..268_435_455 => 4,
            _ => 5,
        };
        let mut bytes = [0; 5];
        for (place, byte) in bytes[..length].iter_mut().rev().enumerate() {
            *byte = (entry >> (7 * place)) as u8 & 0x7F | 0x80;
        }
        bytes[0] &= 0x7F;
        BackLength { bytes, length }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}
