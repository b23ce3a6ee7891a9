//! The dense form: 6 bits a register, from the low bits of each byte on.

use super::{FormatError, HEADER_BYTES, Histogram, REGISTER_MAX, REGISTERS, error};

/// All registers.
pub const BYTES: usize = REGISTERS * 6 / 8;

/// The byte where a register begins, and the bits of that byte before it.
fn split(index: usize) -> (usize, u32) {
    (index * 6 / 8, index as u32 * 6 % 8)
}

pub fn get(registers: &[u8], index: usize) -> u8 {
    let (byte, shift) = split(index);
    let next = registers.get(byte + 1).copied().unwrap_or(0);
    (u16::from_le_bytes([registers[byte], next]) >> shift) as u8 & 0x3F
}

/// Raises a register to a value, and says whether it was lower.
pub fn raise(registers: &mut [u8], index: usize, value: u8) -> bool {
    if get(registers, index) >= value {
        return false;
    }
    let (byte, shift) = split(index);
    let [low, high] = (u16::from(value) << shift).to_le_bytes();
    let [keep_low, keep_high] = (!(0x3Fu16 << shift)).to_le_bytes();
    registers[byte] = registers[byte] & keep_low | low;
    if let Some(next) = registers.get_mut(byte + 1) {
        *next = *next & keep_high | high;
    }
    true
}

pub fn count(registers: &[u8], histogram: &mut Histogram) {
    for [one, two, three] in registers.as_chunks::<3>().0 {
        let four = u32::from_le_bytes([*one, *two, *three, 0]);
        for shift in [0, 6, 12, 18] {
            histogram[(four >> shift) as usize & 0x3F] += 1;
        }
    }
}

pub fn check(bytes: &[u8]) -> Result<(), FormatError> {
    if bytes.len() != HEADER_BYTES + BYTES {
        return Err(error(bytes.len(), "the dense form has 12304 bytes"));
    }
    match (0..REGISTERS).find(|&index| get(&bytes[HEADER_BYTES..], index) > REGISTER_MAX) {
        Some(index) => Err(error(HEADER_BYTES + split(index).0, "a register above 51")),
        None => Ok(()),
    }
}
