//! One thread's sums.

use super::pool::Foreign;
use super::size_class::{ClassCounts, SIZE_CLASSES, size_class};
use super::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering, array_of, const_unless_loom};

/// The sums of one thread: written by the thread that owns it, read by anyone, handed on with its sums when that
/// thread ends.
///
/// Invariant: over all slots, charged minus credited bytes is the live total, whoever owns a slot at the moment; so
/// nothing needs folding when a thread ends.
///
/// The bytes charged are `granted` less `room`: the owner takes from its room, one subtraction whose sign says when
/// it has to take the cold path, where it looks for the peak and is granted more. Outside of that path `room` is not
/// negative.
#[repr(C, align(128))]
pub struct Slot {
    pub(crate) room: AtomicU64,
    pub(crate) freed: AtomicU64,
    /// Raised before the room is, so that one who reads a process that was killed in between knows: see `allocated`.
    pub(crate) granted: AtomicU64,
    /// Raised after the room is.
    pub(crate) granted_before: AtomicU64,
    /// The owner's live bytes (two's complement) above which the process's live total is worth a look for the peak.
    pub(crate) high: AtomicU64,
    /// Where the backend counts: the value of its own counter from which on to look for the peak.
    pub(crate) trip: AtomicU64,
    /// The backend's own counters of the owning thread, or null. Changed and followed only under the pool's lock.
    pub(crate) backend_allocated: AtomicPtr<Foreign>,
    pub(crate) backend_freed: AtomicPtr<Foreign>,
    pub(crate) owner: AtomicU32,
    reserved: AtomicU32,
    pub(crate) requested_allocated: AtomicU64,
    pub(crate) requested_freed: AtomicU64,
    pub(crate) classes: [ClassCounts; SIZE_CLASSES],
}

/// The slot of a thread that has none: less than no room and no sums, so that every operation takes the cold path, that
/// of a block without a charge as well. What is
/// written to it means nothing.
#[cfg(not(loom))]
pub(crate) static NOBODYS: Slot =
    Slot { room: AtomicU64::new(u64::MAX), freed: AtomicU64::new(1 << 63), ..Slot::new() };

/// The bytes charged, from the three figures that make them up.
pub(crate) const fn allocated(room: u64, granted: u64, granted_before: u64) -> u64 {
    // Negative room: the grant that `granted` may already show has not been added to it.
    if (room as i64) < 0 { granted_before.wrapping_sub(room) } else { granted.wrapping_sub(room) }
}

/// `owner` of a slot that any thread may claim.
pub(crate) const UNCLAIMED: u32 = 0;
/// `owner` of a slot in use.
pub(crate) const CLAIMED: u32 = 1;

/// How the counters of a slot are written; the new sum is the answer.
pub trait Write {
    #[doc(hidden)]
    fn add(counter: &AtomicU64, amount: u64) -> u64;
}

/// By the one thread that owns the slot: a plain add, no locked instruction.
pub struct SingleWriter;

impl Write for SingleWriter {
    #[inline(always)]
    fn add(counter: &AtomicU64, amount: u64) -> u64 {
        let sum = counter.load(Ordering::Relaxed).wrapping_add(amount);
        // Release, so that who sees a free also sees the allocation before it, made by whichever thread.
        counter.store(sum, Ordering::Release);
        sum
    }
}

/// By any thread at any time.
pub struct SharedWriter;

impl Write for SharedWriter {
    #[inline(always)]
    fn add(counter: &AtomicU64, amount: u64) -> u64 {
        counter.fetch_add(amount, Ordering::Release).wrapping_add(amount)
    }
}

impl Slot {
    const_unless_loom! {
        pub(crate) fn new() -> Slot {
            Slot {
                room: AtomicU64::new(0),
                freed: AtomicU64::new(0),
                granted: AtomicU64::new(0),
                granted_before: AtomicU64::new(0),
                high: AtomicU64::new(0),
                trip: AtomicU64::new(0),
                backend_allocated: AtomicPtr::new(core::ptr::null_mut()),
                backend_freed: AtomicPtr::new(core::ptr::null_mut()),
                owner: AtomicU32::new(UNCLAIMED),
                reserved: AtomicU32::new(0),
                requested_allocated: AtomicU64::new(0),
                requested_freed: AtomicU64::new(0),
                classes: array_of![ClassCounts::new(); SIZE_CLASSES],
            }
        }
    }

    /// Takes the bytes of a block given out from the owner's room. False if that was not enough: then the bytes are
    /// counted, and the owner calls [`Slot::grant`]; or this is [`NOBODYS`].
    #[inline(always)]
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let room = self.room.load(Ordering::Relaxed).wrapping_sub(bytes as u64);
        self.room.store(room, Ordering::Relaxed);
        room as i64 >= 0
    }

    /// Raises the owner's room to `room` bytes.
    pub(crate) fn grant(&self, room: u64) {
        let grant = room.wrapping_sub(self.room.load(Ordering::Relaxed));
        SingleWriter::add(&self.granted, grant);
        self.room.store(room, Ordering::Release);
        SingleWriter::add(&self.granted_before, grant);
    }

    /// Counts a block taken back, for the owner. False if this is [`NOBODYS`].
    #[inline(always)]
    pub(crate) fn credit(&self, bytes: usize) -> bool {
        SingleWriter::add(&self.freed, bytes as u64) as i64 >= 0
    }

    /// Counts a block given out, for a thread that does not own the slot, in one that nobody takes room from. Answers
    /// the bytes charged in it.
    pub(crate) fn charge_shared(&self, bytes: usize) -> u64 {
        SharedWriter::add(&self.granted, bytes as u64)
    }

    /// Counts a block taken back, for a thread that does not own the slot.
    pub(crate) fn credit_shared(&self, bytes: usize) {
        SharedWriter::add(&self.freed, bytes as u64);
    }

    /// Adds to both sums, for the owner or with the pool's lock held.
    pub(crate) fn fold(&self, allocated: u64, freed: u64) {
        SingleWriter::add(&self.freed, freed);
        SingleWriter::add(&self.granted, allocated);
        SingleWriter::add(&self.granted_before, allocated);
    }

    /// The bytes charged. Exact for the owner, and for others while the owner is granted nothing.
    pub(crate) fn allocated(&self) -> u64 {
        let room = self.room.load(Ordering::Relaxed);
        allocated(room, self.granted.load(Ordering::Relaxed), self.granted_before.load(Ordering::Relaxed))
    }

    /// Counts a block given out in its size class. Its bytes are counted by [`Slot::take`] as well.
    #[inline(always)]
    pub(crate) fn charge_class<W: Write>(&self, bytes: usize) {
        let class = &self.classes[size_class(bytes)];
        W::add(&class.blocks_allocated, 1);
        W::add(&class.bytes_allocated, bytes as u64);
    }

    /// Counts a block taken back in its size class. Its bytes are counted by [`Slot::credit`] as well.
    #[inline(always)]
    pub(crate) fn credit_class<W: Write>(&self, bytes: usize) {
        let class = &self.classes[size_class(bytes)];
        W::add(&class.blocks_freed, 1);
        W::add(&class.bytes_freed, bytes as u64);
    }

    /// The owner's live bytes, which are negative for a thread that frees what others allocate.
    pub(crate) fn live(&self) -> i64 {
        self.allocated().wrapping_sub(self.freed.load(Ordering::Relaxed)) as i64
    }
}
