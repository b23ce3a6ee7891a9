//! Where what is in a published file: numbers in the machine's order at fixed places, and two buffers.
//!
//! A copy is written into the buffer that is not the current one, which the header then names: whoever is killed in
//! between leaves the copy before.

use crate::ledger::SIZE_CLASSES;

/// Raised when the layout or the meaning of a published file changes.
pub const PUBLISHED_VERSION: u32 = 2;

/// As many scopes are published, the largest.
pub const SCOPES: usize = 64;

pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"zmpublsh");

/// Places in the header, which is written once but for the last two figures.
pub(super) mod header {
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 8;
    pub const FILE_BYTES: usize = 12;
    pub const PID: usize = 16;
    pub const PARENT_PID: usize = 20;
    /// When the process started, in the kernel's clock ticks; 0 if that is not known.
    pub const STARTED_TICKS: usize = 24;
    pub const STARTED_NS: usize = 32;
    pub const INTERVAL_NS: usize = 40;
    /// The number of copies made; the last is in the buffer of that number modulo 2.
    pub const TURN: usize = 48;
    pub const ENDED_NS: usize = 56;
    /// Up to here it changes.
    pub const FIGURES: usize = 64;
    pub const BACKEND: usize = 64;
    pub const BACKEND_BYTES: usize = 64;
    pub const EXECUTABLE: usize = 132;
    pub const COMMAND: usize = 1160;
    pub const TEXT_BYTES: usize = 1024;
    /// A [`RequestCell`](crate::ledger::RequestCell), which others write.
    pub const REQUEST: usize = 2192;
}

/// Places in a buffer.
pub(super) mod buffer {
    use super::SIZE_CLASSES;

    /// The number of this copy.
    pub const TURN: usize = 0;
    pub const TAKEN_NS: usize = 8;
    pub const ALLOCATED: usize = 16;
    pub const FREED: usize = 24;
    pub const PEAK: usize = 32;
    /// `u64::MAX` if they are not told apart.
    pub const THREADS: usize = 40;
    /// How many scopes there are.
    pub const SCOPES_TOTAL: usize = 48;
    pub const OUTSIDE_LIVE: usize = 56;
    /// Up to here are the figures of a row.
    pub const FIGURES: usize = 64;
    /// 1 if size classes are counted.
    pub const HAS_DETAILS: usize = 64;
    pub const REQUESTED_ALLOCATED: usize = 72;
    pub const REQUESTED_FREED: usize = 80;
    /// How many records of scopes follow.
    pub const SCOPES_WRITTEN: usize = 88;
    pub const CLASSES: usize = 96;
    pub const CLASS_BYTES: usize = 32;
    pub const SCOPES: usize = CLASSES + SIZE_CLASSES * CLASS_BYTES;
    pub const BYTES: usize = SCOPES + super::SCOPES * super::scope::BYTES;
}

/// Places in the record of a scope.
pub(super) mod scope {
    /// The place of the scope around it among the records, from 1 on; 0 for none. Before its own.
    pub const PARENT: usize = 0;
    pub const OWN_LIVE: usize = 8;
    pub const TOTAL_LIVE: usize = 16;
    pub const TOTAL_PEAK: usize = 24;
    pub const TOTAL_ALLOCATED: usize = 32;
    pub const TOTAL_FREED: usize = 40;
    pub const ENTERED: usize = 48;
    /// `u64::MAX` for no limit.
    pub const LIMIT_SOFT: usize = 56;
    pub const LIMIT_HARD: usize = 64;
    pub const NAME: usize = 72;
    pub const NAME_BYTES: usize = 60;
    pub const BYTES: usize = 136;
}

pub(super) const HEADER_BYTES: usize = 4096;
pub(super) const FILE_BYTES: usize = HEADER_BYTES + 2 * buffer::BYTES;

/// Where the buffer of a copy begins.
pub(super) const fn buffer_at(turn: u64) -> u64 {
    (HEADER_BYTES + (turn % 2) as usize * buffer::BYTES) as u64
}

const _: () = assert!(header::EXECUTABLE == header::BACKEND + 4 + header::BACKEND_BYTES);
const _: () = assert!(header::COMMAND == header::EXECUTABLE + 4 + header::TEXT_BYTES);
const _: () = assert!(header::REQUEST >= header::COMMAND + 4 + header::TEXT_BYTES);
const _: () = assert!(scope::BYTES == scope::NAME + 4 + scope::NAME_BYTES);

pub(super) fn put(bytes: &mut [u8], at: usize, number: u64) {
    bytes[at..at + 8].copy_from_slice(&number.to_ne_bytes());
}

pub(super) fn put_small(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_ne_bytes());
}

/// A text's length and its bytes, cut after `most` of them.
pub(super) fn put_text(bytes: &mut [u8], at: usize, text: &[u8], most: usize) {
    let text = &text[..text.len().min(most)];
    put_small(bytes, at, text.len() as u32);
    bytes[at + 4..at + 4 + text.len()].copy_from_slice(text);
}

/// The number at a place; 0 beyond the end.
pub(super) fn get(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().map_or(0, u64::from_ne_bytes)
}

pub(super) fn get_small(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().map_or(0, u32::from_ne_bytes)
}

/// The bytes of a text, whatever its length claims to be.
pub(super) fn get_text(bytes: &[u8], at: usize, most: usize) -> &[u8] {
    let length = (get_small(bytes, at) as usize).min(most);
    bytes.get(at + 4..at + 4 + length).unwrap_or_default()
}
