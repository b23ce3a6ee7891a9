//! Reading a running process's segment again and again, at the cost of its sums alone.
//!
//! By `read` at a place, never by a mapping: a file that somebody shortens meanwhile is then an error, not a signal.

use super::Totals;
use super::segment::{
    Bytes, Header, Notes, OFFSET_CLAIMED, OFFSET_FIRST, OFFSET_PEAK, OFFSET_SHARED, SEGMENT_SLOTS, Segment,
    SegmentError, Snapshot,
};
use super::slot::{Slot, allocated};
use core::mem::{offset_of, size_of};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// A segment's file, kept open.
#[derive(Debug)]
pub struct SegmentReader {
    file: File,
    /// From the pool's first figure to the sums of the shared slot.
    head: [u8; OFFSET_SHARED + SLOT_SUMS - OFFSET_CLAIMED],
}

/// The sums of a segment, without who it is and without its size classes.
///
/// Of a process at work the sums of its threads are some microseconds apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Bytes allocated and freed, with those that it inherited at a fork.
    pub totals: Totals,
    /// The most live bytes, at least as of the last look; see [`peak_memory`](super::peak_memory).
    pub used_peak_bytes: u64,
    /// Bytes that it has mapped itself, past the allocator.
    pub mapped_bytes: u64,
    /// The most bytes that it had mapped itself.
    pub mapped_peak_bytes: u64,
    /// Requests that a limit refused.
    pub refusals: u64,
    /// Threads that own a slot.
    pub threads: usize,
    /// What it noticed about how much of it is counted, and whether it is becoming another program.
    pub notes: Notes,
    /// It noted an orderly end.
    pub has_ended: bool,
}

/// The bytes at the start of a slot that hold its sums and its owner.
const SLOT_SUMS: usize = offset_of!(Slot, owner) + size_of::<u32>();
/// The bytes at the start of a segment that may change, but for the texts.
const HEADER_FIGURES: usize = offset_of!(Segment, header) + offset_of!(Header, backend);

const _: () = assert!(OFFSET_CLAIMED < OFFSET_PEAK && OFFSET_PEAK < OFFSET_SHARED);

impl SegmentReader {
    /// Reads all of the segment in this file once. The file should be a regular one, as others may block.
    pub fn open(file: File) -> io::Result<(SegmentReader, Snapshot)> {
        let mut reader = SegmentReader { file, head: [0; _] };
        let snapshot = reader.snapshot()?;
        Ok((reader, snapshot))
    }

    /// Everything, as it is now. Cost: that of reading 5 KiB for each slot.
    pub fn snapshot(&mut self) -> io::Result<Snapshot> {
        self.file.seek(SeekFrom::Start(0))?;
        Snapshot::read(&mut self.file)
    }

    /// The sums, as they are now. Cost: a system call for each slot and two more; allocates nothing.
    pub fn sums(&mut self) -> io::Result<Sums> {
        let mut header = [0; HEADER_FIGURES];
        self.file.read_exact_at(&mut header, 0)?;
        let figure = |offset: usize| Bytes(&header).u64_at(offset_of!(Segment, header) + offset).map_err(invalid);
        let notes = Bytes(&header).u32_at(offset_of!(Segment, header) + offset_of!(Header, notes)).map_err(invalid)?;
        self.file.read_exact_at(&mut self.head, OFFSET_CLAIMED as u64)?;
        let head = Bytes(&self.head);
        let mut sums = Sums {
            mapped_bytes: figure(offset_of!(Header, mapped))?,
            mapped_peak_bytes: figure(offset_of!(Header, mapped_peak))?,
            refusals: figure(offset_of!(Header, refusals))?,
            notes: Notes::from_bits(notes),
            has_ended: figure(offset_of!(Header, ended_ns))? != 0,
            ..Sums::default()
        };
        let peak = head.u64_at(OFFSET_PEAK - OFFSET_CLAIMED).map_err(invalid)?;
        let claimed = (head.u32_at(0).map_err(invalid)? as usize).min(SEGMENT_SLOTS);
        sums.add(&self.head[OFFSET_SHARED - OFFSET_CLAIMED..]).map_err(invalid)?;
        for index in 0..claimed {
            let mut slot = [0; SLOT_SUMS];
            self.file.read_exact_at(&mut slot, (OFFSET_FIRST + index * size_of::<Slot>()) as u64)?;
            sums.add(&slot).map_err(invalid)?;
        }
        sums.used_peak_bytes = peak.max(sums.totals.live_bytes());
        Ok(sums)
    }
}

impl Sums {
    fn add(&mut self, slot: &[u8]) -> Result<(), SegmentError> {
        let slot = Bytes(slot);
        let allocated = allocated(
            slot.u64_at(offset_of!(Slot, room))?,
            slot.u64_at(offset_of!(Slot, granted))?,
            slot.u64_at(offset_of!(Slot, granted_before))?,
        );
        self.totals.allocated_bytes = self.totals.allocated_bytes.wrapping_add(allocated);
        self.totals.freed_bytes = self.totals.freed_bytes.wrapping_add(slot.u64_at(offset_of!(Slot, freed))?);
        self.threads += usize::from(slot.u32_at(offset_of!(Slot, owner))? != 0);
        Ok(())
    }
}

fn invalid(error: SegmentError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::super::Identity;
    use super::*;
    use proptest::prelude::*;
    use std::fs::OpenOptions;

    /// A segment's file in a scratch place, gone when dropped.
    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new(name: &str, bytes: &[u8]) -> (Scratch, File) {
            let path = std::env::temp_dir().join(format!("zmalloc-reader-{}-{name}", std::process::id()));
            std::fs::write(&path, bytes).unwrap();
            let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            (Scratch(path), file)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn published(threads: usize) -> Vec<u8> {
        // SAFETY: zeroed memory is a valid segment.
        let segment = unsafe { Box::<Segment>::new_zeroed().assume_init() };
        let (backend, executable, command) = (&b"forward"[..], &b"/bin/a"[..], &b"a\0"[..]);
        segment.publish(&Identity { pid: 7, parent_pid: 1, started_ns: 9, backend, executable, command });
        for index in 0..threads {
            let slot = segment.pool().claim(|_| true).unwrap();
            slot.grant(1 << 20);
            assert!(slot.take(1000 + index));
            assert!(slot.credit(10));
        }
        segment.charge_mapped(4096);
        // SAFETY: readable for its size, and nobody writes it.
        unsafe { core::slice::from_raw_parts((&raw const *segment).cast::<u8>(), segment.bytes_used()) }.to_vec()
    }

    #[test]
    fn the_sums_are_those_of_the_snapshot_and_follow_the_file() {
        let bytes = published(50);
        let (_scratch, file) = Scratch::new("follow", &bytes);
        let (mut reader, snapshot) = SegmentReader::open(file).unwrap();
        let sums = reader.sums().unwrap();
        assert_eq!(sums.totals, snapshot.totals);
        assert_eq!(sums.totals.live_bytes(), (0..50).map(|index| 990 + index).sum::<u64>());
        assert_eq!((sums.threads, sums.used_peak_bytes), (snapshot.threads, snapshot.used_peak_bytes));
        assert_eq!((sums.mapped_bytes, sums.mapped_peak_bytes, sums.threads), (4096, 4096, 50));
        // One slot more was freed into, as the process would.
        let freed = (OFFSET_FIRST + 49 * size_of::<Slot>() + offset_of!(Slot, freed)) as u64;
        reader.file.write_all_at(&700u64.to_ne_bytes(), freed).unwrap();
        assert_eq!(reader.sums().unwrap().totals.freed_bytes, sums.totals.freed_bytes + 690);
        assert_eq!(reader.snapshot().unwrap().totals, reader.sums().unwrap().totals);
        reader.file.set_len(OFFSET_FIRST as u64 + 100).unwrap();
        assert_eq!(reader.sums().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    proptest! {
        #[test]
        fn whatever_the_file_becomes_is_read_or_refused(
            changes in proptest::collection::vec((0usize..20_000, any::<[u8; 8]>()), 0..40),
            length in prop_oneof![Just(usize::MAX), 0usize..40_000],
        ) {
            let bytes = published(2);
            let (_scratch, file) = Scratch::new("mutated", &bytes);
            let (mut reader, _) = SegmentReader::open(file).unwrap();
            for (at, change) in &changes {
                reader.file.write_all_at(change, *at as u64).unwrap();
            }
            reader.file.set_len(length.min(bytes.len()) as u64).unwrap();
            let sums = reader.sums();
            prop_assert!(sums.is_err() || length >= OFFSET_SHARED);
            if let Ok(snapshot) = reader.snapshot() {
                prop_assert_eq!(sums.unwrap().totals, snapshot.totals);
            }
        }
    }
}
