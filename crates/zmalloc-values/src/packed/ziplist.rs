//! The ziplist: each entry begins with the length of the one before.

use super::sealed::{Content, Entry, Rules};
use super::{END, Element, Format, FormatError, Memory, Packed, Range, Sds};
use crate::error::array;
use crate::memory::Global;

/// A list in one block whose entries begin with the length of the entry before: the format that Redis had up to 6.2, and
/// reads still.
///
/// ```text
///  bytes   last     elements   entries                                end
/// ┌───────┬────────┬──────────┬─────────┬─────────┬─────────┬───┬──────┐
/// │ 4     │ 4      │ 2        │ entry   │ entry   │ entry   │ … │ 0xFF │      these numbers little endian
/// └───────┴────────┴──────────┴─────────┴─────────┴─────────┴───┴──────┘
///           offset   65,535: unknown        │
///            ┌──────────────────────────────┘
///            ▼
///  length of the entry before   encoding          bytes or integer
/// ┌────────────────────────────┬─────────────────┬──────────────────┐
/// │ 1, or 0xFE and 4           │ 1, 2 or 5       │                  │
/// └────────────────────────────┴─────────────────┴──────────────────┘
///  5 bytes from 254 on           00llllll          up to 63 bytes
///                                01llllll l        up to 16,383 bytes    lengths big endian,
///                                80 llll           up to 4 GiB           integers little endian
///                                FE C0 F0 D0 E0    an integer of 8, 16, 24, 32, 64 bits
///                                F1 to FD          the integer 0 to 12
/// ```
///
/// **Cascade.** An entry that gets to 254 bytes makes the one behind 4 bytes longer, which may bring that one to 254, and
/// so on: the worst insertion changes every entry behind. All that grow are found first, so the bytes behind move
/// once. A length that has 5 bytes keeps them when a shorter one would do, so nothing cascades down. [`Listpack`](super::Listpack) has
/// none of this.
///
/// The calls are those of [`Packed`].
pub type Ziplist<M = Global> = Packed<ZiplistFormat, M>;

/// The format of [`Ziplist`].
pub struct ZiplistFormat;

impl Format for ZiplistFormat {}

/// From here on the length of the entry before takes 5 bytes, the first of which is this.
const LONG: u8 = 0xFE;
const LAST_AT: usize = 4;

const fn error(at: usize, what: &'static str) -> FormatError {
    FormatError { format: ZiplistFormat::NAME, at, what }
}

impl Rules for ZiplistFormat {
    const NAME: &'static str = "ziplist";
    const HEADER_BYTES: usize = 10;
    const COUNT_AT: usize = 8;
    // Lengths, and those that a cascade makes longer.
    const OVERHEAD_BYTES_MAX: usize = 10;

    fn empty() -> &'static [u8] {
        &[11, 0, 0, 0, 10, 0, 0, 0, 0, 0, END]
    }

    fn decode(bytes: &[u8], at: usize) -> Result<Entry, FormatError> {
        let cut_off = || error(at, "the entry is cut off");
        let (_, width) = previous_length(bytes, at).ok_or_else(cut_off)?;
        let at = at + width;
        let first = *bytes.get(at).ok_or_else(cut_off)?;
        let string = |head: usize, length: usize| {
            let (start, end) = (at + head, (at + head).checked_add(length)?);
            bytes.get(start..end).map(|_| Entry { content: Content::Bytes(start..end), end })
        };
        let integer = |integer: i64, width| Entry { content: Content::Integer(integer), end: at + 1 + width };
        match first {
            0..0x40 => string(1, first.into()).ok_or_else(cut_off),
            0x40..0x80 => {
                let length = u16::from_be_bytes(array(bytes, at).ok_or_else(cut_off)?) & 0x3FFF;
                string(2, length.into()).ok_or_else(cut_off)
            }
            0x80 => {
                let length = u32::from_be_bytes(array(bytes, at + 1).ok_or_else(cut_off)?);
                string(5, length as usize).ok_or_else(cut_off)
            }
            0xC0 => Ok(integer(i16::from_le_bytes(array(bytes, at + 1).ok_or_else(cut_off)?).into(), 2)),
            0xD0 => Ok(integer(i32::from_le_bytes(array(bytes, at + 1).ok_or_else(cut_off)?).into(), 4)),
            0xE0 => Ok(integer(i64::from_le_bytes(array(bytes, at + 1).ok_or_else(cut_off)?), 8)),
            0xF0 => {
                let [low, middle, high] = array(bytes, at + 1).ok_or_else(cut_off)?;
                Ok(integer((i32::from_le_bytes([0, low, middle, high]) >> 8).into(), 3))
            }
            0xFE => Ok(integer(i8::from_le_bytes(array(bytes, at + 1).ok_or_else(cut_off)?).into(), 1)),
            0xF1..=0xFD => Ok(integer(i64::from(first & 0x0F) - 1, 0)),
            _ => Err(error(at, "no such encoding")),
        }
    }

    fn check_link(bytes: &[u8], previous: Option<usize>, at: usize) -> Result<(), FormatError> {
        let (said, _) = previous_length(bytes, at).ok_or(error(at, "the entry is cut off"))?;
        if said != previous.map_or(0, |previous| at - previous) {
            return Err(error(at, "the length of the entry before is another one"));
        }
        Ok(())
    }

    fn check_header(bytes: &[u8], last: Option<usize>) -> Result<(), FormatError> {
        if last_offset(bytes) != last.unwrap_or(Self::HEADER_BYTES) {
            return Err(error(LAST_AT, "the header says another last entry"));
        }
        Ok(())
    }

    fn previous(bytes: &[u8], at: usize) -> Option<usize> {
        if at <= Self::HEADER_BYTES {
            return None;
        }
        if bytes[at] == END {
            return Some(last_offset(bytes));
        }
        previous_length(bytes, at).map(|(length, _)| at - length)
    }

    fn splice<M: Memory>(bytes: &mut Sds<M>, range: Range<usize>, element: Option<Element<'_>>) {
        let (start, removed) = (range.start, range.len());
        let last = last_offset(bytes);
        let before = Self::previous(bytes, start).map_or(0, |previous| start - previous);
        let added = match element {
            None => {
                bytes.resize_range(range, 0);
                0
            }
            Some(element) => insert(bytes, range, before, element),
        };
        let behind = start + added;
        let last = if bytes[behind] != END {
            let grown = set_previous_length(bytes, behind, if added > 0 { added } else { before });
            // What grew lies before the last entry, but for a length within it.
            let (last, grown_last) = (last - removed + added, 4 * usize::from(grown.includes_last));
            last + 4 * grown.entries - grown_last
        } else if added > 0 {
            start
        } else {
            start - before
        };
        let total = bytes.len() as u32;
        bytes[..LAST_AT].copy_from_slice(&total.to_le_bytes());
        bytes[LAST_AT..Self::COUNT_AT].copy_from_slice(&(last as u32).to_le_bytes());
    }
}

/// Where the header says that the last entry is.
fn last_offset(bytes: &[u8]) -> usize {
    u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize
}

/// The length of the entry before that at `at`, and the bytes that say so.
fn previous_length(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    match *bytes.get(at)? {
        LONG => Some((u32::from_le_bytes(array(bytes, at + 1)?) as usize, 5)),
        END => None,
        short => Some((short.into(), 1)),
    }
}

/// Replaces a range by an entry behind one of `before` bytes, and answers the length of the new one.
fn insert<M: Memory>(bytes: &mut Sds<M>, range: Range<usize>, before: usize, element: Element<'_>) -> usize {
    let mut head = Head::default();
    if before < LONG.into() {
        head.push(&[before as u8]);
    } else {
        head.push(&[LONG]);
        head.push(&(before as u32).to_le_bytes());
    }
    let mut data: &[u8] = &[];
    match element {
        Element::Integer(integer) => match integer {
            0..=12 => head.push(&[0xF1 + integer as u8]),
            -0x80..=0x7F => head.push(&[0xFE, integer as u8]),
            -0x8000..=0x7FFF => {
                head.push(&[0xC0]);
                head.push(&(integer as i16).to_le_bytes());
            }
            -0x80_0000..=0x7F_FFFF => {
                head.push(&[0xF0]);
                head.push(&(integer as i32).to_le_bytes()[..3]);
            }
            -0x8000_0000..=0x7FFF_FFFF => {
                head.push(&[0xD0]);
                head.push(&(integer as i32).to_le_bytes());
            }
            _ => {
                head.push(&[0xE0]);
                head.push(&integer.to_le_bytes());
            }
        },
        Element::Bytes(bytes) => {
            data = bytes;
            match bytes.len() {
                length @ 0..0x40 => head.push(&[length as u8]),
                length @ 0x40..0x4000 => head.push(&(length as u16 | 0x4000).to_be_bytes()),
                length => {
                    head.push(&[0x80]);
                    head.push(&(length as u32).to_be_bytes());
                }
            }
        }
    }
    let (start, length) = (range.start, head.length + data.len());
    bytes.resize_range(range, length);
    bytes[start..start + head.length].copy_from_slice(&head.bytes[..head.length]);
    bytes[start + head.length..start + length].copy_from_slice(data);
    length
}

/// What precedes the bytes of an entry.
#[derive(Default)]
struct Head {
    bytes: [u8; 14],
    length: usize,
}

impl Head {
    fn push(&mut self, part: &[u8]) {
        self.bytes[self.length..self.length + part.len()].copy_from_slice(part);
        self.length += part.len();
    }
}

/// The entries that a cascade made 4 bytes longer.
struct Grown {
    entries: usize,
    includes_last: bool,
}

/// Tells the entry at `at`, and those behind that get longer by it, the length of the entry before.
fn set_previous_length<M: Memory>(bytes: &mut Sds<M>, at: usize, length: usize) -> Grown {
    // Those that grow: each has one byte for a length that needs five, and gets long enough to ask it of the next.
    let (mut entries, mut scan, mut before, mut last_grown) = (0, at, length, at);
    while bytes[scan] != END {
        let (_, width) = previous_length(bytes, scan).expect("an entry");
        if width == 5 || before < LONG.into() {
            write_length(&mut bytes[scan..], before, width);
            break;
        }
        let end = super::trusted::<ZiplistFormat>(bytes, scan).end;
        (entries, before, last_grown, scan) = (entries + 1, end - scan + 4, scan, end);
    }
    let includes_last = entries > 0 && bytes[scan] == END;
    if entries == 0 {
        return Grown { entries, includes_last };
    }
    // From behind: each moves to its place, all that are behind them once.
    bytes.resize_range(scan..scan, 4 * entries);
    let (mut start, mut end) = (last_grown, scan);
    for left in (1..=entries).rev() {
        let to = start + 4 * left + 1;
        let old = usize::from(bytes[start]);
        bytes.copy_within(start + 1..end, to);
        let told = if left == 1 { length } else { old + 4 };
        write_length(&mut bytes[start + 4 * (left - 1)..], told, 5);
        if left > 1 {
            (start, end) = (start - old, start);
        }
    }
    Grown { entries, includes_last }
}

fn write_length(to: &mut [u8], length: usize, width: usize) {
    if width == 1 {
        to[0] = length as u8;
    } else {
        to[0] = LONG;
        to[1..5].copy_from_slice(&(length as u32).to_le_bytes());
    }
}
