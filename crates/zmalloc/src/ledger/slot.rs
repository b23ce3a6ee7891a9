//! One thread's sums.

use super::pool::Foreign;
use super::size_class::{ClassCounts, SIZE_CLASSES, size_class};
use super::small_sizes::{SMALL_SIZES, SizeCounts, small_size};
use super::step;
use super::sync::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, array_of, const_unless_loom};

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
    /// Under a limit; these four are changed with the pool's lock held, see [`super::limit`]. Bytes that the owner may count
    /// beyond its room.
    pub(crate) margin: AtomicU64,
    /// Where the backend counts: up to what its counter of allocated bytes may rise.
    pub(crate) ceiling: AtomicU64,
    /// What was freed of late: that much of the slot's sums of freed bytes was given back to the limit.
    pub(crate) freed_known: AtomicU64,
    /// The owner's [`unasked_below`](super::local::Local::unasked_below), or null if the backend does not count.
    pub(crate) unasked_below: AtomicPtr<AtomicUsize>,
    pub(crate) requested_allocated: AtomicU64,
    pub(crate) requested_freed: AtomicU64,
    pub(crate) small_sizes: [SizeCounts; SMALL_SIZES],
    /// What is not of a small size.
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
                margin: AtomicU64::new(0),
                ceiling: AtomicU64::new(0),
                freed_known: AtomicU64::new(0),
                unasked_below: AtomicPtr::new(core::ptr::null_mut()),
                requested_allocated: AtomicU64::new(0),
                requested_freed: AtomicU64::new(0),
                small_sizes: array_of![SizeCounts::new(); SMALL_SIZES],
                classes: array_of![ClassCounts::new(); SIZE_CLASSES],
            }
        }
    }

    /// Whether a thread owns it.
    pub(crate) fn is_claimed(&self) -> bool {
        self.owner.load(Ordering::Relaxed) == CLAIMED
    }

    /// Takes the bytes of a block given out from the owner's room. False if that was not enough: then the bytes are
    /// counted, and the owner calls [`Slot::grant`]; or this is [`NOBODYS`].
    #[inline(always)]
    pub(crate) fn take(&self, bytes: usize) -> bool {
        step::subtract(&self.room, bytes as u64)
    }

    /// Whether the owner's room is not used up. False for [`NOBODYS`].
    #[inline(always)]
    pub(crate) fn has_room(&self) -> bool {
        self.room.load(Ordering::Relaxed) as i64 >= 0
    }

    /// Sets the owner's room to `room` bytes.
    ///
    /// Adds one amount three times, each at once, so that a signal handler of the owner may be granted more in between.
    pub(crate) fn grant(&self, room: u64) {
        let grant = room.wrapping_sub(self.room.load(Ordering::Relaxed));
        SharedWriter::add(&self.granted, grant);
        SharedWriter::add(&self.room, grant);
        SharedWriter::add(&self.granted_before, grant);
    }

    /// Gives up the room, with the pool's lock held, of a slot whose owner is gone. What was charged is the same after each
    /// step, for who reads a process that was killed in between.
    pub(crate) fn give_up_room(&self) {
        let charged = self.allocated();
        if self.has_room() {
            self.granted_before.store(charged.wrapping_sub(1), Ordering::Release);
            self.room.store(1u64.wrapping_neg(), Ordering::Release);
        }
        self.granted.store(charged, Ordering::Release);
        self.room.store(0, Ordering::Release);
        self.granted_before.store(charged, Ordering::Release);
    }

    /// Counts a block taken back, for the owner. False if this is [`NOBODYS`].
    #[inline(always)]
    pub(crate) fn credit(&self, bytes: usize) -> bool {
        step::add(&self.freed, bytes as u64)
    }

    /// Counts a block given out, for a thread that does not own the slot, in one that nobody takes room from. Answers
    /// the bytes charged in it.
    pub(crate) fn charge_shared(&self, bytes: usize) -> u64 {
        SharedWriter::add(&self.granted, bytes as u64)
    }

    /// Counts a block given out past the room, for the owner.
    pub(crate) fn charge_past_room(&self, bytes: u64) {
        SharedWriter::add(&self.granted, bytes);
        SharedWriter::add(&self.granted_before, bytes);
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
        if let Some(size) = self.small_sizes.get(small_size(bytes)) {
            W::add(&size.allocated, 1);
            return;
        }
        let class = &self.classes[size_class(bytes)];
        W::add(&class.blocks_allocated, 1);
        W::add(&class.bytes_allocated, bytes as u64);
    }

    /// Counts a block taken back in its size class. Its bytes are counted by [`Slot::credit`] as well.
    #[inline(always)]
    pub(crate) fn credit_class<W: Write>(&self, bytes: usize) {
        if let Some(size) = self.small_sizes.get(small_size(bytes)) {
            W::add(&size.freed, 1);
            return;
        }
        let class = &self.classes[size_class(bytes)];
        W::add(&class.blocks_freed, 1);
        W::add(&class.bytes_freed, bytes as u64);
    }

    /// The owner's live bytes that we count, which are negative for a thread that frees what others allocate.
    pub(crate) fn live(&self) -> i64 {
        self.allocated().wrapping_sub(self.freed.load(Ordering::Relaxed)) as i64
    }
}

#[cfg(all(test, ledger_slots, not(loom)))]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicBool;

    #[test]
    fn room_that_is_given_up_changes_no_sum() {
        for (room, taken) in [(1000, 300), (1000, 1000), (1000, 1001), (0, 0), (0, 50)] {
            let slot = Slot::new();
            slot.grant(room);
            slot.take(taken);
            slot.give_up_room();
            assert_eq!((slot.allocated(), slot.room.load(Ordering::Relaxed)), (taken as u64, 0));
            assert_eq!(slot.granted.load(Ordering::Relaxed), slot.granted_before.load(Ordering::Relaxed));
        }
    }

    static SLOT: Slot = Slot::new();
    const BYTES: u64 = 1000;

    /// Allocates as the interrupted thread: takes from its room, and is granted more.
    extern "C" fn allocate(_: libc::c_int) {
        SLOT.room.fetch_sub(BYTES, Ordering::Relaxed);
        SLOT.grant(2 * BYTES);
        HANDLED.store(true, Ordering::Release);
    }
    static HANDLED: AtomicBool = AtomicBool::new(false);

    #[test]
    fn a_grant_interrupted_by_another_leaves_exact_sums() {
        const SIGNALS: u64 = 1_000;
        static DONE: AtomicBool = AtomicBool::new(false);
        // SAFETY: a handler that only touches atomics; nobody else here uses the signal.
        unsafe { libc::signal(libc::SIGURG, allocate as *const () as libc::sighandler_t) };
        let owner = std::thread::spawn(|| {
            let mut room = 0;
            while !DONE.load(Ordering::Relaxed) {
                room += 1;
                SLOT.grant(room % BYTES);
            }
        });
        for _ in 0..SIGNALS {
            HANDLED.store(false, Ordering::Relaxed);
            // SAFETY: a thread that runs until it is told.
            unsafe { libc::pthread_kill(std::os::unix::thread::JoinHandleExt::as_pthread_t(&owner), libc::SIGURG) };
            while !HANDLED.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        }
        DONE.store(true, Ordering::Relaxed);
        owner.join().unwrap();
        assert_eq!(SLOT.allocated(), SIGNALS * BYTES);
    }
}
