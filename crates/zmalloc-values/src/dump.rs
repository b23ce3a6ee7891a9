//! What Redis's `DUMP` answers and `RESTORE` takes, for values in one of the packed formats: [`Payload`].

use crate::error::{FormatError, array};
use alloc::vec::Vec;

/// A value as Redis's `DUMP` answers it and `RESTORE` takes it.
///
/// ```text
///  form   strings or nodes         version   checksum
/// ┌──────┬────────────────────────┬─────────┬──────────┐
/// │ 1    │ each behind its length │ 2       │ 8        │      little endian
/// └──────┴────────────────────────┴─────────┴──────────┘
/// ```
///
/// ```
/// use zmalloc_values::dump::{Form, Payload};
/// use zmalloc_values::Intset;
///
/// let mut set: Intset = Intset::new();
/// set.insert(7);
/// let payload = Payload::new(Form::SetIntset, set.as_bytes());
/// // redis> RESTORE key 0 …
/// let bytes = payload.write();
/// let again = Payload::read(&bytes).unwrap();
/// assert!(Intset::<zmalloc_values::Global>::from_bytes(&again.parts[0].bytes).unwrap() == set);
/// ```
///
/// The parts are not looked into: give each to its format's `from_bytes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// What the parts are.
    pub form: Form,
    /// The version of the format: 10 is Redis 7.0, 11 is 7.2. A server takes none above its own.
    pub version: u16,
    /// The nodes of a quicklist; of any other form, the one part.
    pub parts: Vec<Part>,
}

/// A string, or a node of a quicklist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its bytes; compressed ones are read as what they were.
    pub bytes: Vec<u8>,
    /// Of a quicklist's node: whether it is one large element instead of a listpack.
    pub plain: bool,
}

/// How a value was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A string; a HyperLogLog too.
    String = 0,
    /// A list in a [`Ziplist`](crate::Ziplist), read by every Redis, written up to 2.8.
    ListZiplist = 10,
    /// A set in an [`Intset`](crate::Intset).
    SetIntset = 11,
    /// A sorted set in a [`Ziplist`](crate::Ziplist) of members and scores, written up to Redis 6.2.
    SortedSetZiplist = 12,
    /// A hash in a [`Ziplist`](crate::Ziplist) of fields and values, written up to Redis 6.2.
    HashZiplist = 13,
    /// A hash in a [`Listpack`](crate::Listpack) of fields and values.
    HashListpack = 16,
    /// A sorted set in a [`Listpack`](crate::Listpack) of members and scores.
    SortedSetListpack = 17,
    /// A list over several [`Listpack`](crate::Listpack)s.
    Quicklist = 18,
    /// A set in a [`Listpack`](crate::Listpack), from Redis 7.2 on.
    SetListpack = 20,
}

const FORMS: [Form; 9] = [
    Form::String,
    Form::ListZiplist,
    Form::SetIntset,
    Form::SortedSetZiplist,
    Form::HashZiplist,
    Form::HashListpack,
    Form::SortedSetListpack,
    Form::Quicklist,
    Form::SetListpack,
];

const FOOTER_BYTES: usize = 10;
const NODE_PLAIN: usize = 1;
const NODE_PACKED: usize = 2;

const fn error(at: usize, what: &'static str) -> FormatError {
    FormatError { format: "dump", at, what }
}

impl Payload {
    /// A payload of one part, of the oldest version since 7.0 that has the form.
    pub fn new(form: Form, part: &[u8]) -> Self {
        let version = if form == Form::SetListpack { 11 } else { 10 };
        Payload { form, version, parts: alloc::vec![Part { bytes: part.to_vec(), plain: false }] }
    }

    /// A quicklist of these listpacks.
    pub fn quicklist<'a>(listpacks: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let parts = listpacks.into_iter().map(|bytes| Part { bytes: bytes.to_vec(), plain: false }).collect();
        Payload { form: Form::Quicklist, version: 10, parts }
    }

    /// What `RESTORE` takes. The bytes of the parts are not compressed.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = alloc::vec![self.form as u8];
        if self.form == Form::Quicklist {
            write_length(&mut bytes, self.parts.len());
        }
        for part in &self.parts {
            if self.form == Form::Quicklist {
                write_length(&mut bytes, if part.plain { NODE_PLAIN } else { NODE_PACKED });
            }
            write_length(&mut bytes, part.bytes.len());
            bytes.extend_from_slice(&part.bytes);
        }
        bytes.extend_from_slice(&self.version.to_le_bytes());
        let checksum = crc64(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// What `DUMP` answered; or what is wrong with it, or which form it has that is none of [`Form`].
    pub fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        let end = bytes.len().checked_sub(FOOTER_BYTES).ok_or(error(bytes.len(), "the footer is cut off"))?;
        let checksum_at = end + 2;
        if array(bytes, checksum_at).map(u64::from_le_bytes) != Some(crc64(&bytes[..checksum_at])) {
            return Err(error(checksum_at, "the checksum is another one"));
        }
        let version = u16::from_le_bytes([bytes[end], bytes[end + 1]]);
        let mut reader = Reader { bytes: &bytes[..end], at: 0 };
        let form = reader.byte()?;
        let form =
            FORMS.into_iter().find(|&known| known as u8 == form).ok_or(error(0, "a form that is not read here"))?;
        let mut parts = Vec::new();
        if form == Form::Quicklist {
            for _ in 0..reader.length()? {
                let at = reader.at;
                let plain = match reader.length()? {
                    NODE_PLAIN => true,
                    NODE_PACKED => false,
                    _ => return Err(error(at, "a node is plain (1) or packed (2)")),
                };
                parts.push(Part { bytes: reader.string()?, plain });
            }
        } else {
            parts.push(Part { bytes: reader.string()?, plain: false });
        }
        if reader.at != end {
            return Err(error(reader.at, "there are bytes behind the value"));
        }
        Ok(Payload { form, version, parts })
    }
}

fn write_length(bytes: &mut Vec<u8>, length: usize) {
    match length {
        0..0x40 => bytes.push(length as u8),
        0x40..0x4000 => bytes.extend_from_slice(&(length as u16 | 0x4000).to_be_bytes()),
        0x4000..=0xFFFF_FFFF => {
            bytes.push(0x80);
            bytes.extend_from_slice(&(length as u32).to_be_bytes());
        }
        _ => {
            bytes.push(0x81);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What stands before a string: its length, or how it is written instead.
enum Length {
    Bytes(usize),
    Special(u8),
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], FormatError> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let taken = &self.bytes[self.at..end.ok_or(error(self.at, "the value is cut off"))?];
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let at = self.at;
        self.take(N)?.try_into().map_err(|_| error(at, "the value is cut off"))
    }

    fn byte(&mut self) -> Result<u8, FormatError> {
        self.array().map(|[byte]| byte)
    }

    fn any_length(&mut self) -> Result<Length, FormatError> {
        let at = self.at;
        let first = self.byte()?;
        let long = match (first >> 6, first) {
            (0b00, _) => return Ok(Length::Bytes(first.into())),
            (0b01, _) => return Ok(Length::Bytes(u16::from_be_bytes([first & 0x3F, self.byte()?]).into())),
            (0b11, _) => return Ok(Length::Special(first & 0x3F)),
            (_, 0x80) => u32::from_be_bytes(self.array()?).into(),
            (_, 0x81) => u64::from_be_bytes(self.array()?),
            _ => return Err(error(at, "no such length")),
        };
        usize::try_from(long).map(Length::Bytes).map_err(|_| error(at, "more than the address space has"))
    }

    fn length(&mut self) -> Result<usize, FormatError> {
        let at = self.at;
        match self.any_length()? {
            Length::Bytes(length) => Ok(length),
            Length::Special(_) => Err(error(at, "a number is wanted here")),
        }
    }

    fn string(&mut self) -> Result<Vec<u8>, FormatError> {
        let at = self.at;
        let integer = match self.any_length()? {
            Length::Bytes(length) => return Ok(self.take(length)?.to_vec()),
            Length::Special(0) => i8::from_le_bytes(self.array()?).into(),
            Length::Special(1) => i16::from_le_bytes(self.array()?).into(),
            Length::Special(2) => i32::from_le_bytes(self.array()?),
            Length::Special(3) => {
                let (packed, length) = (self.length()?, self.length()?);
                return decompress(self.take(packed)?, length).ok_or(error(at, "what is compressed is damaged"));
            }
            Length::Special(_) => return Err(error(at, "no such string")),
        };
        Ok(itoa::Buffer::new().format(integer).as_bytes().to_vec())
    }
}

/// LZF: runs of new bytes, and of bytes that were there before.
fn decompress(packed: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut packed = packed.iter().copied();
    while let Some(control) = packed.next() {
        if control < 0x20 {
            for _ in 0..=control {
                bytes.push(packed.next()?);
            }
        } else {
            let mut count = usize::from(control >> 5) + 2;
            if control >> 5 == 7 {
                count += usize::from(packed.next()?);
            }
            let distance = usize::from(u16::from_be_bytes([control & 0x1F, packed.next()?])) + 1;
            let from = bytes.len().checked_sub(distance)?;
            // Byte by byte: what is repeated may reach into what it makes.
            for at in from..from + count {
                bytes.push(bytes[at]);
            }
        }
        if bytes.len() > length {
            return None;
        }
    }
    (bytes.len() == length).then_some(bytes)
}

/// CRC-64 with the polynomial of Jones, as Redis has it: reflected, from 0.
fn crc64(bytes: &[u8]) -> u64 {
    const REFLECTED: u64 = 0x95AC_9329_AC4B_C9B5;
    const TABLE: [u64; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let (mut value, mut bit) = (index as u64, 0);
            while bit < 8 {
                value = (value >> 1) ^ ((value & 1) * REFLECTED);
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    bytes.iter().fold(0, |sum, &byte| TABLE[usize::from(sum as u8 ^ byte)] ^ (sum >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_redis_s() {
        assert_eq!(crc64(b"123456789"), 0xE9C6_D914_C4B8_D9CA);
    }

    #[test]
    fn what_was_compressed_comes_back() {
        // "ab", then 10 bytes from 2 before: ababababababab.
        let packed = [1, b'a', b'b', 0xE0, 1, 1];
        assert_eq!(decompress(&packed, 12).as_deref(), Some(&b"abababababab"[..]));
        assert_eq!(decompress(&packed, 11), None);
        assert_eq!(decompress(&[0x20, 0], 3), None, "from before the beginning");
    }

    #[test]
    fn every_length_is_read_as_it_was_written() {
        for length in [0, 0x3F, 0x40, 0x3FFF, 0x4000, 70_000] {
            let payload = Payload::new(Form::String, &alloc::vec![b'x'; length]);
            assert_eq!(Payload::read(&payload.write()), Ok(payload));
        }
        let payload = Payload::quicklist([&b"one"[..], b"two"]);
        assert_eq!(Payload::read(&payload.write()), Ok(payload));
    }
}
