//! A ledger in shared memory: written by the program as it goes, read by another process, even after a SIGKILL.
//!
//! The format is this crate's memory layout on one machine, guarded by a version and by every size that it depends on.
//! The reader trusts nothing in it: it takes plain numbers out of a copy, and follows no address.

use super::pool::Pool;
use super::request::RequestCell;
use super::size_class::{ClassCounts, ClassTotals, SIZE_CLASSES};
use super::slot::{Slot, allocated};
use super::small_sizes::{self, SMALL_SIZES, SizeCounts};
use super::{Details, Totals};
use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::fmt;
use std::io::{self, Read};

/// The name of the environment variable with the directory that a preloaded program publishes its segments in.
pub const SESSION_VARIABLE: &str = "ZMALLOC_SESSION";

/// The environment variable with the limit of each process, in bytes: digits alone.
pub const LIMIT_VARIABLE: &str = "ZMALLOC_LIMIT_BYTES";

/// The environment variable with what is done when a limit is reached: `report`, `stop` or `kill`; else it is refused.
pub const AT_LIMIT_VARIABLE: &str = "ZMALLOC_AT_LIMIT";

/// The environment variable that is `1` where a limit counts what a program maps itself as well.
pub const LIMIT_MAPPED_VARIABLE: &str = "ZMALLOC_LIMIT_MAPPED";

/// Raised when the layout or the meaning of a segment changes.
pub const SEGMENT_VERSION: u32 = 4;

const MAGIC: u64 = u64::from_le_bytes(*b"zmalloc\x01");

/// The slots in place of a segment; threads beyond that count in one shared slot.
pub const SEGMENT_SLOTS: usize = 1024;

/// A published ledger.
///
/// Zeroed memory of [`Segment::BYTES`] bytes is a valid segment that no reader takes until [`Segment::publish`].
#[repr(C)]
pub struct Segment {
    pub(super) header: Header,
    pool: Pool<[Slot; SEGMENT_SLOTS]>,
}

pub(super) const OFFSET_CLAIMED: usize = offset_of!(Segment, pool) + Pool::<[Slot; SEGMENT_SLOTS]>::OFFSET_CLAIMED;
pub(super) const OFFSET_PEAK: usize = offset_of!(Segment, pool) + Pool::<[Slot; SEGMENT_SLOTS]>::OFFSET_PEAK;
pub(super) const OFFSET_SHARED: usize = offset_of!(Segment, pool) + Pool::<[Slot; SEGMENT_SLOTS]>::OFFSET_SHARED;
pub(super) const OFFSET_FIRST: usize = offset_of!(Segment, pool) + Pool::<[Slot; SEGMENT_SLOTS]>::OFFSET_FIRST;

#[repr(C, align(4096))]
pub(super) struct Header {
    /// Written last: a reader that sees it sees the rest.
    magic: AtomicU64,
    version: AtomicU32,
    segment_bytes: AtomicU32,
    slot_bytes: AtomicU32,
    slots: AtomicU32,
    size_classes: AtomicU32,
    pid: AtomicU32,
    parent_pid: AtomicU32,
    /// Bits of `Notes`.
    pub(super) notes: AtomicU32,
    started_ns: AtomicU64,
    pub(super) ended_ns: AtomicU64,
    resident_peak: AtomicU64,
    resident_end: AtomicU64,
    pub(super) mapped: AtomicU64,
    pub(super) mapped_peak: AtomicU64,
    inherited_allocated: AtomicU64,
    inherited_freed: AtomicU64,
    inherited_blocks: AtomicU64,
    pub(super) refusals: AtomicU64,
    refused_first_ns: AtomicU64,
    request: RequestCell,
    /// The first of what never changes.
    pub(super) backend: Text<64>,
    executable: Text<1024>,
    command: Text<1024>,
}

/// Bytes written once, before the segment is published.
#[repr(C)]
pub(super) struct Text<const N: usize> {
    length: AtomicU32,
    bytes: [core::sync::atomic::AtomicU8; N],
}

impl<const N: usize> Text<N> {
    fn set(&self, text: &[u8]) {
        let length = text.len().min(N);
        self.bytes.iter().zip(text).for_each(|(to, &from)| to.store(from, Ordering::Relaxed));
        self.length.store(length as u32, Ordering::Relaxed);
    }
}

/// Who publishes a segment.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The process.
    pub pid: u32,
    /// Its parent when it started.
    pub parent_pid: u32,
    /// When it started, in nanoseconds since 1970.
    pub started_ns: u64,
    /// The allocator that it counts, like `jemalloc` or `forward`; cut after 64 bytes.
    pub backend: &'a [u8],
    /// The path of the executable; cut after 1024 bytes.
    pub executable: &'a [u8],
    /// The arguments, each ended by a 0 byte; cut after 1024 bytes.
    pub command: &'a [u8],
}

/// What a program noticed about how much of it, and how long, is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// The executable defines `malloc` itself, so that its calls and its libraries' go there and are not counted.
    pub own_malloc: bool,
    /// It called `exec` and did not return: the process became another program.
    pub exec: bool,
    /// The allocator beneath is asked for the size of each block, a call more for each `malloc` and `free`: it is
    /// neither glibc nor a jemalloc, or the loader allocated before this library was ready.
    pub sizes_asked: bool,
}

impl Notes {
    const OWN_MALLOC: u32 = 1;
    const EXEC: u32 = 2;
    const SIZES_ASKED: u32 = 4;

    fn bits(self) -> u32 {
        let bit = |is_on: bool, bit: u32| if is_on { bit } else { 0 };
        bit(self.own_malloc, Notes::OWN_MALLOC)
            | bit(self.exec, Notes::EXEC)
            | bit(self.sizes_asked, Notes::SIZES_ASKED)
    }

    pub(super) fn from_bits(bits: u32) -> Notes {
        Notes {
            own_malloc: bits & Notes::OWN_MALLOC != 0,
            exec: bits & Notes::EXEC != 0,
            sizes_asked: bits & Notes::SIZES_ASKED != 0,
        }
    }
}

impl Segment {
    /// The bytes of a segment. Sparse: only what is in use takes memory.
    pub const BYTES: usize = size_of::<Segment>();

    /// The bytes at the start of a segment that every program writes.
    pub const BYTES_ALWAYS_USED: usize = offset_of!(Segment, pool) + size_of::<Pool<[Slot; 1]>>();

    /// Where in the file its [`RequestCell`] is.
    #[doc(hidden)]
    pub const REQUEST_AT: u64 = (offset_of!(Segment, header) + offset_of!(Header, request)) as u64;

    /// What is asked of the process.
    #[doc(hidden)]
    pub fn request(&self) -> &RequestCell {
        &self.header.request
    }

    /// The slots, for [`adopt`](super::adopt).
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Says who publishes, and lets readers in. Neither allocates nor waits.
    pub fn publish(&self, identity: &Identity<'_>) {
        let header = &self.header;
        header.version.store(SEGMENT_VERSION, Ordering::Relaxed);
        header.segment_bytes.store(Segment::BYTES as u32, Ordering::Relaxed);
        header.slot_bytes.store(size_of::<Slot>() as u32, Ordering::Relaxed);
        header.slots.store(SEGMENT_SLOTS as u32, Ordering::Relaxed);
        header.size_classes.store(SIZE_CLASSES as u32, Ordering::Relaxed);
        header.pid.store(identity.pid, Ordering::Relaxed);
        header.parent_pid.store(identity.parent_pid, Ordering::Relaxed);
        header.started_ns.store(identity.started_ns, Ordering::Relaxed);
        header.backend.set(identity.backend);
        header.executable.set(identity.executable);
        header.command.set(identity.command);
        header.magic.store(MAGIC, Ordering::Release);
    }

    /// The bytes at the start of this segment that are in use now: what a copy of it has to hold.
    pub fn bytes_used(&self) -> usize {
        let claimed = self.pool().claimed().clamp(1, SEGMENT_SLOTS);
        Segment::BYTES_ALWAYS_USED + (claimed - 1) * size_of::<Slot>()
    }

    /// In a forked child: makes this fresh segment the child's, out of the `parent`'s as it was at the fork, as
    /// [`inherit`](Segment::inherit) says. No reader takes it until [`Segment::publish`].
    ///
    /// # Safety
    /// 1. Nobody else uses this segment yet, and its start is writable for `parent.bytes_used()` bytes. 2. `parent` is
    ///    another segment; who still counts there makes this copy inexact, nothing worse.
    pub unsafe fn inherit_from(&self, parent: &Segment) {
        const AFTER_MAGIC: usize = offset_of!(Segment, header) + offset_of!(Header, magic) + size_of::<AtomicU64>();
        let (from, to) = (core::ptr::from_ref(parent).cast::<u8>(), core::ptr::from_ref(self).cast_mut().cast::<u8>());
        // SAFETY: 1. both are as long as what is in use, and everything in them is an atomic, so may be written behind
        // the shared reference. 2. They are apart.
        unsafe {
            to.add(AFTER_MAGIC).copy_from_nonoverlapping(from.add(AFTER_MAGIC), parent.bytes_used() - AFTER_MAGIC)
        };
        self.inherit();
    }

    /// In a forked child, whose segment is a copy of its parent's: what the parent did is inherited, not the child's,
    /// and the child's peak and end are its own. Called before the child's other handlers count anything.
    pub fn inherit(&self) {
        let header = &self.header;
        let totals = self.pool().totals_without_lock();
        header.inherited_allocated.store(totals.allocated_bytes, Ordering::Relaxed);
        header.inherited_freed.store(totals.freed_bytes, Ordering::Relaxed);
        header.inherited_blocks.store(self.pool().details().blocks_allocated(), Ordering::Relaxed);
        self.pool().reset_peak(totals.live_bytes());
        header.mapped_peak.store(header.mapped.load(Ordering::Relaxed), Ordering::Relaxed);
        header.ended_ns.store(0, Ordering::Relaxed);
        header.resident_peak.store(0, Ordering::Relaxed);
        header.resident_end.store(0, Ordering::Relaxed);
        header.refusals.store(0, Ordering::Relaxed);
        header.refused_first_ns.store(0, Ordering::Relaxed);
        header.request.forget();
        self.note_exec(false);
    }

    /// Counts bytes that the program mapped itself, past the allocator.
    pub fn charge_mapped(&self, bytes: usize) {
        let mapped = self.header.mapped.fetch_add(bytes as u64, Ordering::Relaxed).wrapping_add(bytes as u64);
        self.header.mapped_peak.fetch_max(mapped, Ordering::Relaxed);
    }

    /// Counts bytes that the program unmapped itself.
    pub fn credit_mapped(&self, bytes: usize) {
        self.header.mapped.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes that the program has mapped itself.
    pub fn mapped(&self) -> u64 {
        self.header.mapped.load(Ordering::Relaxed)
    }

    /// Says what the program noticed. Replaces what was said before.
    pub fn note(&self, notes: Notes) {
        self.header.notes.store(notes.bits(), Ordering::Relaxed);
    }

    /// Notes that the process is about to become another program; then, if it did not, that.
    pub fn note_exec(&self, begins: bool) {
        let notes = &self.header.notes;
        if begins {
            notes.fetch_or(Notes::EXEC, Ordering::Relaxed);
        } else {
            notes.fetch_and(!Notes::EXEC, Ordering::Relaxed);
        }
    }

    /// Counts a request that a limit refused, at this time in nanoseconds since 1970.
    pub fn note_refusal(&self, refused_ns: u64) {
        if self.header.refusals.fetch_add(1, Ordering::Relaxed) == 0 {
            self.header.refused_first_ns.store(refused_ns, Ordering::Relaxed);
        }
    }

    /// Notes an orderly end: the time in nanoseconds since 1970, and resident memory in bytes, at its peak and now (0 if
    /// unknown). May be called again: what the last call said stays.
    pub fn note_end(&self, ended_ns: u64, resident_peak: u64, resident: u64) {
        self.header.resident_peak.store(resident_peak, Ordering::Relaxed);
        self.header.resident_end.store(resident, Ordering::Relaxed);
        self.header.ended_ns.store(ended_ns, Ordering::Relaxed);
    }
}

/// What a segment said when its bytes were copied.
///
/// Of a process that has ended, or is at rest, every figure is exact. Of a running one the copy is not of one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The process.
    pub pid: u32,
    /// Its parent when it started.
    pub parent_pid: u32,
    /// When it started, in nanoseconds since 1970.
    pub started_ns: u64,
    /// When it noted an orderly end, in nanoseconds since 1970; `None` if it runs, or was killed.
    pub ended_ns: Option<u64>,
    /// The peak of resident memory that it noted at its end, in bytes.
    pub resident_peak_bytes: Option<u64>,
    /// The resident memory that it noted at its end, in bytes.
    pub resident_end_bytes: Option<u64>,
    /// What it noticed about how much of it is counted.
    pub notes: Notes,
    /// The allocator that it counts.
    pub backend: String,
    /// The path of its executable.
    pub executable: String,
    /// Its arguments.
    pub command: Vec<String>,
    /// Bytes allocated and freed, with those that it inherited at a fork.
    pub totals: Totals,
    /// The most live bytes, at least as of the last look; see [`peak_memory`](super::peak_memory).
    pub used_peak_bytes: u64,
    /// Bytes that it has mapped itself, past the allocator.
    pub mapped_bytes: u64,
    /// The most bytes that it had mapped itself.
    pub mapped_peak_bytes: u64,
    /// What its parent had allocated and freed when it forked; nothing for a program that was started.
    pub inherited: Totals,
    /// Blocks that its parent had allocated when it forked.
    pub inherited_blocks: u64,
    /// Requests that a limit refused to it.
    pub refusals: u64,
    /// When it was refused the first one, in nanoseconds since 1970.
    pub refused_first_ns: Option<u64>,
    /// What its limit was set to while it ran, by `zm set`, if it was: bytes, or `None` for none.
    pub limit_set: Option<Option<u64>>,
    /// Threads that own a slot.
    pub threads: usize,
    /// Blocks and bytes by size class.
    pub details: Details,
}

/// Why bytes are no segment that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentError {
    /// The segment was not published: its process was just starting, or this is no segment at all.
    NotPublished,
    /// Written by another version of zmalloc.
    OtherVersion(u32),
    /// Shorter than it says, or with sizes that this version does not write.
    Malformed,
}

impl fmt::Display for SegmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SegmentError::NotPublished => f.write_str("not a published segment"),
            SegmentError::OtherVersion(version) => write!(
                f,
                "a segment of version {version}, but this is version {SEGMENT_VERSION}: use the zm that belongs to it"
            ),
            SegmentError::Malformed => f.write_str("a damaged segment"),
        }
    }
}

impl std::error::Error for SegmentError {}

impl Snapshot {
    /// Reads a segment's file: what is in use of it, tens of KiB.
    pub fn read(file: &mut impl Read) -> io::Result<Snapshot> {
        let mut bytes = Vec::with_capacity(Segment::BYTES_ALWAYS_USED);
        file.by_ref().take(Segment::BYTES_ALWAYS_USED as u64).read_to_end(&mut bytes)?;
        let claimed = Bytes(&bytes).u32_at(OFFSET_CLAIMED).unwrap_or(0) as usize;
        let more = claimed.min(SEGMENT_SLOTS).saturating_sub(1) * size_of::<Slot>();
        file.by_ref().take(more as u64).read_to_end(&mut bytes)?;
        Snapshot::parse(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Reads a copy of a segment's bytes, or of its start if that holds all slots that are in use. Any bytes are fine: what does not fit is refused.
    pub fn parse(bytes: &[u8]) -> Result<Snapshot, SegmentError> {
        let bytes = Bytes(bytes);
        let u32_in = |offset: usize| bytes.u32_at(offset_of!(Segment, header) + offset);
        let u64_in = |offset: usize| bytes.u64_at(offset_of!(Segment, header) + offset);
        if bytes.u64_at(offset_of!(Segment, header) + offset_of!(Header, magic)).unwrap_or(0) != MAGIC {
            return Err(SegmentError::NotPublished);
        }
        let version = u32_in(offset_of!(Header, version))?;
        if version != SEGMENT_VERSION {
            return Err(SegmentError::OtherVersion(version));
        }
        let sizes = [
            u32_in(offset_of!(Header, segment_bytes))? as usize,
            u32_in(offset_of!(Header, slot_bytes))? as usize,
            u32_in(offset_of!(Header, slots))? as usize,
            u32_in(offset_of!(Header, size_classes))? as usize,
        ];
        if sizes != [Segment::BYTES, size_of::<Slot>(), SEGMENT_SLOTS, SIZE_CLASSES] {
            return Err(SegmentError::Malformed);
        }

        let claimed = bytes.u32_at(OFFSET_CLAIMED)? as usize;
        let mut threads = 0;
        let mut totals = Totals::default();
        let mut details = Details { requested: Totals::default(), classes: [ClassTotals::default(); SIZE_CLASSES] };
        let owned = (0..claimed.min(SEGMENT_SLOTS)).map(|index| OFFSET_FIRST + index * size_of::<Slot>());
        for slot in core::iter::once(OFFSET_SHARED).chain(owned) {
            threads += usize::from(bytes.u32_at(slot + offset_of!(Slot, owner))? != 0);
            let allocated = allocated(
                bytes.u64_at(slot + offset_of!(Slot, room))?,
                bytes.u64_at(slot + offset_of!(Slot, granted))?,
                bytes.u64_at(slot + offset_of!(Slot, granted_before))?,
            );
            totals.allocated_bytes = totals.allocated_bytes.wrapping_add(allocated);
            bytes.add(slot + offset_of!(Slot, freed), &mut totals.freed_bytes)?;
            bytes.add(slot + offset_of!(Slot, requested_allocated), &mut details.requested.allocated_bytes)?;
            bytes.add(slot + offset_of!(Slot, requested_freed), &mut details.requested.freed_bytes)?;
            for place in 0..SMALL_SIZES {
                let at = slot + offset_of!(Slot, small_sizes) + place * size_of::<SizeCounts>();
                let allocated = bytes.u64_at(at + offset_of!(SizeCounts, allocated))?;
                small_sizes::add_allocated(&mut details.classes, place, allocated);
                small_sizes::add_freed(&mut details.classes, place, bytes.u64_at(at + offset_of!(SizeCounts, freed))?);
            }
            for (index, class) in details.classes.iter_mut().enumerate() {
                let at = slot + offset_of!(Slot, classes) + index * size_of::<ClassCounts>();
                bytes.add(at + offset_of!(ClassCounts, blocks_allocated), &mut class.blocks_allocated)?;
                bytes.add(at + offset_of!(ClassCounts, bytes_allocated), &mut class.bytes_allocated)?;
                bytes.add(at + offset_of!(ClassCounts, blocks_freed), &mut class.blocks_freed)?;
                bytes.add(at + offset_of!(ClassCounts, bytes_freed), &mut class.bytes_freed)?;
            }
        }

        let peak = bytes.u64_at(OFFSET_PEAK)?;
        let command = bytes.text::<1024>(offset_of!(Header, command))?;
        Ok(Snapshot {
            pid: u32_in(offset_of!(Header, pid))?,
            parent_pid: u32_in(offset_of!(Header, parent_pid))?,
            started_ns: u64_in(offset_of!(Header, started_ns))?,
            ended_ns: Some(u64_in(offset_of!(Header, ended_ns))?).filter(|&ended| ended != 0),
            resident_peak_bytes: Some(u64_in(offset_of!(Header, resident_peak))?).filter(|&peak| peak != 0),
            resident_end_bytes: Some(u64_in(offset_of!(Header, resident_end))?).filter(|&bytes| bytes != 0),
            notes: Notes::from_bits(u32_in(offset_of!(Header, notes))?),
            backend: bytes.text::<64>(offset_of!(Header, backend))?,
            executable: bytes.text::<1024>(offset_of!(Header, executable))?,
            command: command.split_terminator('\0').map(str::to_owned).collect(),
            totals,
            used_peak_bytes: peak.max(totals.live_bytes()),
            mapped_bytes: u64_in(offset_of!(Header, mapped))?,
            mapped_peak_bytes: u64_in(offset_of!(Header, mapped_peak))?,
            inherited: Totals {
                allocated_bytes: u64_in(offset_of!(Header, inherited_allocated))?,
                freed_bytes: u64_in(offset_of!(Header, inherited_freed))?,
            },
            inherited_blocks: u64_in(offset_of!(Header, inherited_blocks))?,
            refusals: u64_in(offset_of!(Header, refusals))?,
            refused_first_ns: Some(u64_in(offset_of!(Header, refused_first_ns))?).filter(|&refused| refused != 0),
            limit_set: bytes
                .0
                .get(offset_of!(Segment, header) + offset_of!(Header, request)..)
                .and_then(RequestCell::limit_set),
            threads,
            details,
        })
    }

    /// Blocks that this process itself allocated.
    pub fn blocks_allocated(&self) -> u64 {
        self.details.blocks_allocated().wrapping_sub(self.inherited_blocks)
    }

    /// Bytes that this process itself allocated and freed, without what its parent did before the fork.
    pub fn own_totals(&self) -> Totals {
        Totals {
            allocated_bytes: self.totals.allocated_bytes.wrapping_sub(self.inherited.allocated_bytes),
            freed_bytes: self.totals.freed_bytes.wrapping_sub(self.inherited.freed_bytes),
        }
    }
}

/// Numbers at places in untrusted bytes.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl Bytes<'_> {
    fn array<const N: usize>(&self, offset: usize) -> Result<[u8; N], SegmentError> {
        let bytes = self.0.get(offset..).and_then(|rest| rest.first_chunk::<N>());
        bytes.copied().ok_or(SegmentError::Malformed)
    }

    pub(super) fn u32_at(&self, offset: usize) -> Result<u32, SegmentError> {
        self.array(offset).map(u32::from_ne_bytes)
    }

    pub(super) fn u64_at(&self, offset: usize) -> Result<u64, SegmentError> {
        self.array(offset).map(u64::from_ne_bytes)
    }

    fn add(&self, offset: usize, sum: &mut u64) -> Result<(), SegmentError> {
        *sum = sum.wrapping_add(self.u64_at(offset)?);
        Ok(())
    }

    fn text<const N: usize>(&self, offset: usize) -> Result<String, SegmentError> {
        let length = self.u32_at(offset + offset_of!(Text<N>, length))? as usize;
        let bytes = self.array::<N>(offset + offset_of!(Text<N>, bytes))?;
        Ok(String::from_utf8_lossy(&bytes[..length.min(N)]).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment() -> Box<Segment> {
        // SAFETY: zeroed memory is a valid segment: atomics, null pointers and `false`.
        unsafe { Box::<Segment>::new_zeroed().assume_init() }
    }

    fn bytes(segment: &Segment) -> Vec<u8> {
        // SAFETY: the segment is readable for its size, has no padding that matters, and nobody writes it.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(segment).cast(), Segment::BYTES) }.to_vec()
    }

    const IDENTITY: Identity<'_> = Identity {
        pid: 7,
        parent_pid: 1,
        started_ns: 99,
        backend: b"forward",
        executable: b"/bin/true",
        command: b"true\0-x\0",
    };

    #[test]
    fn what_is_written_is_read() {
        use crate::ledger::slot::SingleWriter;
        let segment = segment();
        assert_eq!(Snapshot::parse(&bytes(&segment)).unwrap_err(), SegmentError::NotPublished);
        segment.publish(&IDENTITY);
        let slot = segment.pool().claim(|_| true).unwrap();
        for bytes in [24, 1000, 1_000_000] {
            assert!(!slot.take(bytes));
            slot.grant(0);
            slot.charge_class::<SingleWriter>(bytes);
        }
        assert!(slot.credit(1000));
        slot.credit_class::<SingleWriter>(1000);
        segment.charge_mapped(8192);
        segment.credit_mapped(4096);
        segment.note_end(123, 456, 345);
        let snapshot = Snapshot::read(&mut bytes(&segment).as_slice()).unwrap();
        assert_eq!(snapshot.totals, Totals { allocated_bytes: 1_001_024, freed_bytes: 1000 });
        assert_eq!((snapshot.blocks_allocated(), snapshot.details.blocks_live(), snapshot.threads), (3, 2, 1));
        assert_eq!((snapshot.mapped_bytes, snapshot.mapped_peak_bytes), (4096, 8192));
        assert_eq!((snapshot.ended_ns, snapshot.resident_peak_bytes), (Some(123), Some(456)));
        assert_eq!(snapshot.resident_end_bytes, Some(345));
        assert_eq!(
            (snapshot.executable.as_str(), snapshot.command.as_slice()),
            ("/bin/true", &["true".into(), "-x".into()] as &[String])
        );

        segment.inherit();
        slot.take(50);
        let child = Snapshot::parse(&bytes(&segment)).unwrap();
        assert_eq!(child.own_totals(), Totals { allocated_bytes: 50, freed_bytes: 0 });
        assert_eq!(
            (child.totals.live_bytes(), child.used_peak_bytes, child.blocks_allocated()),
            (1_000_074, 1_000_074, 0)
        );
        assert_eq!(child.ended_ns, None);
    }

    #[test]
    fn damaged_bytes_are_refused_or_read_but_never_followed() {
        let segment = segment();
        segment.publish(&IDENTITY);
        let whole = bytes(&segment);
        for length in (0..whole.len()).step_by(4001) {
            let needed = Segment::BYTES_ALWAYS_USED - size_of::<Slot>();
            assert_eq!(Snapshot::parse(&whole[..length]).is_ok(), length >= needed, "{length}");
        }
        let mut random = 0x9E37_79B9_7F4A_7C15u64;
        for _ in 0..200 {
            let mut damaged = whole.clone();
            for _ in 0..64 {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = (random >> 33) as usize % 16384;
                damaged[at] = random as u8;
            }
            // The magic and the sizes stay, so that the rest is really read.
            damaged[..40].copy_from_slice(&whole[..40]);
            let _ = Snapshot::parse(&damaged);
        }
        let mut other = whole.clone();
        other[8] ^= 1;
        assert!(matches!(Snapshot::parse(&other), Err(SegmentError::OtherVersion(_))));
    }
}
