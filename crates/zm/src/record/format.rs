//! The file: a block for the start, one for the end, and a ring of samples. Each block is of a fixed size, and holds
//! its length, a checksum, and JSON: one that was being written when its writer was killed is told from a whole one.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

pub const MAGIC: &[u8; 16] = b"zmalloc record 1";
pub const START_AT: u64 = 16;
pub const START_BYTES: usize = 8192 - 16;
pub const END_AT: u64 = 8192;
pub const END_BYTES: usize = 8192;
pub const RING_AT: u64 = 16_384;
pub const SLOT_BYTES: usize = 4096;
pub const SLOTS: u64 = 1020;
pub const FILE_BYTES: u64 = RING_AT + SLOTS * SLOT_BYTES as u64;

/// What is known when the program starts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Start {
    pub zm_version: String,
    pub command: Vec<String>,
    pub zm_pid: u32,
    pub program_pid: u32,
    pub started_seconds: f64,
    /// Of the machine: its counters begin anew with another.
    pub boot_id: String,
    /// The memory that the program may have: of its cgroup, or the machine.
    pub memory_limit_bytes: Option<u64>,
    pub counters: Counters,
}

/// What the kernel counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Processes of zm's cgroup killed for want of memory.
    pub cgroup_oom_kills: Option<u64>,
    /// Those of the whole machine.
    pub machine_oom_kills: Option<u64>,
    pub cgroup_used_bytes: Option<u64>,
}

/// One moment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Frame {
    pub number: u64,
    pub seconds: f64,
    pub processes_total: u64,
    pub used_bytes: u64,
    pub mapped_bytes: u64,
    pub rss_bytes: u64,
    pub counters: Counters,
    /// The largest.
    pub processes: Vec<Row>,
    /// The one whose classes and scopes follow.
    pub holder_pid: Option<u32>,
    pub size_classes: Vec<Class>,
    pub scopes: Vec<ScopeLive>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Row {
    pub pid: u32,
    pub program: String,
    pub used_bytes: u64,
    pub used_peak_bytes: u64,
    pub mapped_bytes: Option<u64>,
    pub rss_bytes: u64,
    /// How it ended, of the end's; as `zm run`'s JSON says.
    pub ended: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Class {
    pub from_bytes: u64,
    pub to_bytes: Option<u64>,
    pub live_blocks: u64,
    pub live_bytes: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ScopeLive {
    pub path: String,
    pub used_bytes: i64,
}

/// What is known when the program has ended, and zm has not.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct End {
    pub seconds: f64,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub counters: Counters,
    /// Processes that were gone without a word.
    pub processes_lost: u64,
    /// The largest, as exact as `zm run` has them.
    pub processes: Vec<Row>,
}

/// Writes a block of at most `size` bytes; false if it does not fit.
pub fn write_block(file: &File, at: u64, size: usize, what: &impl Serialize) -> io::Result<bool> {
    let text = serde_json::to_vec(what)?;
    if text.len() + BLOCK_HEAD > size {
        return Ok(false);
    }
    let mut block = Vec::with_capacity(BLOCK_HEAD + text.len());
    block.extend((text.len() as u64).to_le_bytes());
    block.extend(checksum(&text).to_le_bytes());
    block.extend(&text);
    file.write_all_at(&block, at)?;
    Ok(true)
}

const BLOCK_HEAD: usize = 16;

/// A block, if it is whole.
pub fn read_block<T: DeserializeOwned>(bytes: &[u8], at: u64, size: usize) -> Option<T> {
    let block = bytes.get(at as usize..)?;
    let length = u64::from_le_bytes(*block.first_chunk()?);
    let sum = u64::from_le_bytes(*block.get(8..)?.first_chunk()?);
    let length = usize::try_from(length).ok().filter(|&length| length <= size - BLOCK_HEAD)?;
    let text = block.get(BLOCK_HEAD..BLOCK_HEAD + length)?;
    if checksum(text) != sum {
        return None;
    }
    serde_json::from_slice(text).ok()
}

/// FNV-1a: against blocks written by halves, not against malice.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
