//! The sparse form: runs of registers that have one value.

use super::{FormatError, HEADER_BYTES, Memory, REGISTERS, Sds, error};

/// One run over all registers, which are 0.
pub const EMPTY: [u8; 2] = zeros_long(REGISTERS);

const ZEROS_SHORT_MAX: usize = 64;
const VALUE_MAX: u8 = 32;
const VALUES_MAX: usize = 4;
/// How many runs are looked at, from the one before a change on, for two that can be one.
const JOINED_MAX: usize = 5;

/// A run, and where it is.
#[derive(Clone, Copy)]
pub struct Run {
    pub value: u8,
    pub length: usize,
    at: usize,
    width: usize,
}

pub enum Raised {
    Yes,
    No,
    /// The sparse form cannot hold that.
    TooLarge,
}

/// The runs of bytes that were checked, header first.
pub fn runs(bytes: &[u8]) -> impl Iterator<Item = Run> {
    let mut at = HEADER_BYTES;
    core::iter::from_fn(move || {
        let run = run(bytes, at)?;
        at += run.width;
        Some(run)
    })
}

/// Raises a register to a value. So that the bytes are those of Redis, runs are split and joined where it does so.
pub fn raise<M: Memory>(bytes: &mut Sds<M>, index: usize, value: u8, bytes_max: usize) -> Raised {
    if value > VALUE_MAX {
        return Raised::TooLarge;
    }
    let (mut first, mut before) = (0, HEADER_BYTES);
    let hit = runs(bytes)
        .find(|run| {
            let hit = index < first + run.length;
            if !hit {
                first += run.length;
                before = run.at;
            }
            hit
        })
        .expect("runs over all registers");
    if hit.value >= value {
        return Raised::No;
    }
    // The registers before the one, the one, and those behind.
    let mut new = [0; 5];
    let mut length = 0;
    for (value, count) in [(hit.value, index - first), (value, 1), (hit.value, first + hit.length - index - 1)] {
        length += write(&mut new[length..], value, count);
    }
    if length > hit.width && bytes.len() + length - hit.width > bytes_max {
        return Raised::TooLarge;
    }
    bytes.replace_range_sparing(hit.at..hit.at + hit.width, &new[..length]);
    join(bytes, before);
    Raised::Yes
}

/// Makes one of neighbours with the same value, where one can hold them.
fn join<M: Memory>(bytes: &mut Sds<M>, mut at: usize) {
    for _ in 0..JOINED_MAX {
        let Some(one) = run(bytes, at) else { return };
        match run(bytes, at + one.width) {
            Some(two) if one.value > 0 && one.value == two.value && one.length + two.length <= VALUES_MAX => {
                bytes.replace_range_sparing(at..at + 2, &[values(one.value, one.length + two.length)]);
            }
            _ => at += one.width,
        }
    }
}

pub fn check(bytes: &[u8]) -> Result<(), FormatError> {
    let (mut at, mut registers) = (HEADER_BYTES, 0);
    while at < bytes.len() {
        let run = run(bytes, at).ok_or(error(at, "the run is cut off"))?;
        registers += run.length;
        if registers > REGISTERS {
            return Err(error(at, "more than 16384 registers"));
        }
        at += run.width;
    }
    if registers < REGISTERS { Err(error(at, "fewer than 16384 registers")) } else { Ok(()) }
}

fn run(bytes: &[u8], at: usize) -> Option<Run> {
    let first = *bytes.get(at)?;
    Some(match first >> 6 {
        0b00 => Run { value: 0, length: usize::from(first) + 1, at, width: 1 },
        0b01 => {
            let length = u16::from_be_bytes([first & 0x3F, *bytes.get(at + 1)?]);
            Run { value: 0, length: usize::from(length) + 1, at, width: 2 }
        }
        _ => Run { value: (first >> 2 & 0x1F) + 1, length: usize::from(first & 3) + 1, at, width: 1 },
    })
}

/// Writes a run, or nothing for none, and answers its bytes.
fn write(to: &mut [u8], value: u8, count: usize) -> usize {
    if count == 0 {
        return 0;
    }
    if value == 0 && count > ZEROS_SHORT_MAX {
        to[..2].copy_from_slice(&zeros_long(count));
        return 2;
    }
    to[0] = if value == 0 { (count - 1) as u8 } else { values(value, count) };
    1
}

const fn zeros_long(count: usize) -> [u8; 2] {
    ((count - 1) as u16 | 0x4000).to_be_bytes()
}

const fn values(value: u8, count: usize) -> u8 {
    0x80 | (value - 1) << 2 | (count - 1) as u8
}
