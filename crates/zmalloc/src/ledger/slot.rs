//! One thread's sums.

use super::size_class::{ClassCounts, SIZE_CLASSES, size_class};
use super::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering, array_of, const_unless_loom};

/// The sums of one thread: written by the thread that owns it, read by anyone, handed on with its sums when that
/// thread ends.
///
/// Invariant: over all slots, charged minus credited bytes is the live total, whoever owns a slot at the moment; so
/// nothing needs folding when a thread ends.
#[repr(C, align(128))]
pub struct Slot {
    pub(crate) allocated: AtomicU64,
    pub(crate) freed: AtomicU64,
    /// The value of `allocated` (or of the backend's own counter) from which on the owner takes the cold path.
    pub(crate) trip: AtomicU64,
    /// The owner's live bytes (two's complement) above which the process's live total is worth a look for the peak.
    pub(crate) high: AtomicU64,
    /// The backend's own counters of the owning thread, or null. Changed and followed only under the pool's lock.
    pub(crate) backend_allocated: AtomicPtr<u64>,
    pub(crate) backend_freed: AtomicPtr<u64>,
    pub(crate) owner: AtomicU32,
    reserved: AtomicU32,
    pub(crate) requested_allocated: AtomicU64,
    pub(crate) requested_freed: AtomicU64,
    pub(crate) classes: [ClassCounts; SIZE_CLASSES],
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
                allocated: AtomicU64::new(0),
                freed: AtomicU64::new(0),
                trip: AtomicU64::new(0),
                high: AtomicU64::new(0),
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

    /// Counts a block given out. True if the sum has reached the trip: then look for the peak.
    #[inline(always)]
    pub(crate) fn charge<W: Write>(&self, bytes: usize) -> bool {
        W::add(&self.allocated, bytes as u64) >= self.trip.load(Ordering::Relaxed)
    }

    /// Counts a block taken back.
    #[inline(always)]
    pub(crate) fn credit<W: Write>(&self, bytes: usize) {
        W::add(&self.freed, bytes as u64);
    }

    /// Counts a block given out in its size class. Its bytes are counted by [`Slot::charge`] as well.
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
        self.allocated.load(Ordering::Relaxed).wrapping_sub(self.freed.load(Ordering::Relaxed)) as i64
    }
}
