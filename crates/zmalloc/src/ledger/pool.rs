//! The slots of all threads, and what they add up to.

use super::limit::Limit;
use super::size_class::{ClassTotals, SIZE_CLASSES};
use super::slot::{CLAIMED, Slot, UNCLAIMED};
use super::small_sizes;
use super::sync::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, SpinLock, array_of, const_unless_loom};
use super::{Details, Totals};

/// Every slot of a ledger: the first ones in place, more mapped as threads need them.
///
/// Lies in a static, or in memory that another process reads; the layout is part of the segment's format.
#[repr(C)]
pub struct Pool<Slots: ?Sized = [Slot]> {
    /// Slots with an index at or above this were never claimed.
    claimed: AtomicU32,
    /// Whether `more` may be used; not in shared memory, where the reader sees only `first`.
    growable: bool,
    lock: SpinLock,
    peak: AtomicU64,
    step: AtomicU64,
    pub(super) limit: Limit,
    /// Runs of slots added later, each twice as long as the one before.
    more: [AtomicPtr<Slot>; RUNS],
    /// Where threads count that have no slot: while they register, and after they gave theirs back.
    shared: Slot,
    first: Slots,
}

const RUNS: usize = if cfg!(loom) { 1 } else { 20 };
/// The length of the first added run.
const RUN: usize = 64;

impl<const N: usize> Pool<[Slot; N]> {
    const_unless_loom! {
        pub(crate) fn new() -> Self {
            Pool {
                claimed: AtomicU32::new(0),
                growable: !cfg!(loom),
                lock: SpinLock::new(),
                peak: AtomicU64::new(0),
                step: AtomicU64::new(0),
                limit: Limit::new(),
                more: array_of![AtomicPtr::new(core::ptr::null_mut()); RUNS],
                shared: Slot::new(),
                first: array_of![Slot::new(); N],
            }
        }
    }
}

impl<const N: usize> Pool<[Slot; N]> {
    /// Where a reader of the segment's bytes finds what it needs.
    pub(crate) const OFFSET_CLAIMED: usize = core::mem::offset_of!(Self, claimed);
    pub(crate) const OFFSET_PEAK: usize = core::mem::offset_of!(Self, peak);
    pub(crate) const OFFSET_SHARED: usize = core::mem::offset_of!(Self, shared);
    pub(crate) const OFFSET_FIRST: usize = core::mem::offset_of!(Self, first);
}

impl Pool {
    /// The slot for threads that have none.
    pub(crate) fn shared(&self) -> &Slot {
        &self.shared
    }

    /// The most live bytes ever seen by a look at all slots; see [`super::peak`] for what is looked at when.
    pub(crate) fn peak(&self) -> &AtomicU64 {
        &self.peak
    }

    /// The bytes a thread's live bytes may rise between two looks.
    pub(crate) fn step(&self) -> u64 {
        self.step.load(Ordering::Relaxed).max(super::peak::STEP_MIN)
    }

    pub(crate) fn set_step(&self, step: u64) {
        self.step.store(step, Ordering::Relaxed);
    }

    /// Starts the peak anew from these live bytes.
    pub(crate) fn reset_peak(&self, live: u64) {
        self.peak.store(live, Ordering::Relaxed);
    }

    /// Claims a slot for the calling thread, or `None` if none is left, no memory for more, or `ready` refuses one that
    /// was never claimed.
    pub(crate) fn claim(&self, ready: impl Fn(&Slot) -> bool) -> Option<&Slot> {
        let mut index = 0;
        loop {
            let slot = match self.slot(index) {
                Some(slot) => slot,
                None => self.grow(index)?,
            };
            // Before anything in it is touched: there may be no memory behind it yet.
            if index >= self.claimed.load(Ordering::Acquire) as usize && !ready(slot) {
                return None;
            }
            if slot.owner.load(Ordering::Relaxed) == UNCLAIMED
                && slot.owner.compare_exchange(UNCLAIMED, CLAIMED, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                self.claimed.fetch_max(index as u32 + 1, Ordering::Release);
                return Some(slot);
            }
            index += 1;
        }
    }

    /// Gives a slot back with its sums; the next thread goes on from them.
    pub(crate) fn release(&self, slot: &Slot) {
        slot.owner.store(UNCLAIMED, Ordering::Release);
    }

    /// Lets the ledger read the backend's own counters of the thread that owns `slot`, and everybody with the lock change
    /// what that thread may do without being asked.
    ///
    /// # Safety
    /// All addresses stay readable until [`detach_backend`](Pool::detach_backend) or, in a forked child,
    /// [`keep_only`](Pool::keep_only) is called for this slot.
    pub(crate) unsafe fn attach_backend(
        &self,
        slot: &Slot,
        allocated: *const Foreign,
        freed: *const Foreign,
        unasked_below: *const AtomicUsize,
    ) {
        self.lock.with(|| {
            slot.backend_freed.store(freed.cast_mut(), Ordering::Relaxed);
            slot.backend_allocated.store(allocated.cast_mut(), Ordering::Relaxed);
            slot.unasked_below.store(unasked_below.cast_mut(), Ordering::Relaxed);
            self.begin_ceiling(slot);
        });
    }

    /// The thread that owns the slot ends: adds the backend's own counters to the slot's sums, forgets where they are, and
    /// gives back what the thread was given of the limit.
    pub(crate) fn detach_backend(&self, slot: &Slot) {
        self.lock.with(|| self.fold(slot));
    }

    /// With the lock held: what `detach_backend` says.
    fn fold(&self, slot: &Slot) {
        let allocated = read_foreign(&slot.backend_allocated);
        slot.fold(allocated, read_foreign(&slot.backend_freed));
        slot.backend_freed.store(core::ptr::null_mut(), Ordering::Relaxed);
        slot.backend_allocated.store(core::ptr::null_mut(), Ordering::Relaxed);
        slot.unasked_below.store(core::ptr::null_mut(), Ordering::Relaxed);
        self.end_ceiling(slot, allocated);
    }

    /// The live bytes of the slot's owner, for the owner: those that we count and those that its backend counts.
    pub(crate) fn live_of(&self, slot: &Slot) -> i64 {
        let backend = read_foreign(&slot.backend_allocated).wrapping_sub(read_foreign(&slot.backend_freed));
        slot.live().wrapping_add(backend as i64)
    }

    /// The sums of the slot's owner, for the owner: those that we count and those that its backend counts. Only their
    /// differences mean something: a slot goes on from the sums of the threads that had it before.
    #[inline]
    pub(crate) fn totals_of(slot: &Slot) -> Totals {
        Totals {
            allocated_bytes: slot.allocated().wrapping_add(read_foreign(&slot.backend_allocated)),
            freed_bytes: slot.freed.load(Ordering::Relaxed).wrapping_add(read_foreign(&slot.backend_freed)),
        }
    }

    /// Runs a section with the lock held.
    pub(crate) fn with_lock<R>(&self, section: impl FnOnce(&Self) -> R) -> R {
        self.lock.with(|| section(self))
    }

    /// Slots that were ever claimed.
    #[cfg(all(ledger_slots, not(loom)))]
    pub(crate) fn claimed(&self) -> usize {
        self.claimed.load(Ordering::Acquire) as usize
    }

    /// How many slots lie in place.
    pub(crate) fn first_slots(&self) -> usize {
        self.first.len()
    }

    /// Whether the calling thread holds the lock.
    pub(crate) fn is_locked_here(&self) -> bool {
        self.lock.is_mine()
    }

    /// Takes the lock; for a section that does not end where it began.
    pub(crate) fn lock(&self) {
        self.lock.acquire();
    }

    /// Gives back the lock taken by [`lock`](Pool::lock).
    pub(crate) fn unlock(&self) {
        self.lock.release();
    }

    /// With the lock held, in a forked child: no other thread exists any more, so their backend counters are folded
    /// before their memory is used again, and their slots are given back.
    pub(crate) fn keep_only(&self, own: *const Slot) {
        for slot in self.slots() {
            if !core::ptr::eq(slot, own) {
                self.fold(slot);
                slot.owner.store(UNCLAIMED, Ordering::Relaxed);
            }
        }
        self.forget_others();
    }

    /// The sums over all slots.
    ///
    /// Frees are read before allocations, and both only grow, so the live bytes are never below 0 and above the truth
    /// by at most what was freed during the read. If that was a lot, the read is repeated a few times.
    pub(crate) fn totals(&self) -> Totals {
        /// A reading that is at most this many bytes too high is good enough.
        const TOLERANCE: u64 = 1 << 16;
        const ATTEMPTS: usize = 4;
        let mut best = Totals::default();
        let mut best_slack = u64::MAX;
        for _ in 0..ATTEMPTS {
            let (totals, freed_after) = self.lock.with(|| (self.totals_without_lock(), self.freed()));
            let slack = freed_after.wrapping_sub(totals.freed_bytes);
            if slack < best_slack {
                (best, best_slack) = (totals, slack);
            }
            if best_slack <= TOLERANCE {
                break;
            }
        }
        best
    }

    /// The sums over all slots, where nobody else runs: in a forked child.
    pub(crate) fn totals_without_lock(&self) -> Totals {
        let freed_bytes = self.freed();
        Totals { allocated_bytes: self.allocated(), freed_bytes }
    }

    /// With the lock held.
    fn freed(&self) -> u64 {
        let mut sum = self.shared.freed.load(Ordering::Acquire);
        for slot in self.slots() {
            let own = slot.freed.load(Ordering::Acquire);
            sum = sum.wrapping_add(own).wrapping_add(read_foreign(&slot.backend_freed));
        }
        // The backend's own counters are plain memory: keep the later reads of allocations behind these reads. That
        // their writes are seen in order is x86-64's promise, not the language's: elsewhere a reading may be too low by
        // what was freed while it was made.
        super::sync::fence(Ordering::Acquire);
        sum
    }

    /// With the lock held.
    fn allocated(&self) -> u64 {
        let mut sum = self.shared.allocated();
        for slot in self.slots() {
            sum = sum.wrapping_add(slot.allocated()).wrapping_add(read_foreign(&slot.backend_allocated));
        }
        super::sync::fence(Ordering::Acquire);
        sum
    }

    /// The detailed sums over all slots; frees are read before allocations, as in [`totals`](Pool::totals).
    pub(crate) fn details(&self) -> Details {
        let mut details = Details { requested: Totals::default(), classes: [ClassTotals::default(); SIZE_CLASSES] };
        let slots = || core::iter::once(&self.shared).chain(self.slots());
        for slot in slots() {
            let requested = slot.requested_freed.load(Ordering::Acquire);
            details.requested.freed_bytes = details.requested.freed_bytes.wrapping_add(requested);
            slot.classes.iter().zip(&mut details.classes).for_each(|(class, total)| class.add_freed_to(total));
            small_sizes::add_freed_to(&mut details.classes, &slot.small_sizes);
        }
        for slot in slots() {
            let requested = slot.requested_allocated.load(Ordering::Relaxed);
            details.requested.allocated_bytes = details.requested.allocated_bytes.wrapping_add(requested);
            slot.classes.iter().zip(&mut details.classes).for_each(|(class, total)| class.add_allocated_to(total));
            small_sizes::add_allocated_to(&mut details.classes, &slot.small_sizes);
        }
        details
    }

    /// Threads that own a slot now.
    pub(crate) fn threads(&self) -> usize {
        self.slots().filter(|slot| slot.is_claimed()).count()
    }

    /// Every slot that was ever claimed.
    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        (0..self.claimed.load(Ordering::Acquire) as usize).map_while(|index| self.slot(index))
    }

    /// The slot of this index, if it exists yet.
    fn slot(&self, index: usize) -> Option<&Slot> {
        if let Some(slot) = self.first.get(index) {
            return Some(slot);
        }
        let (run, offset) = place(index - self.first.len());
        let run = self.more.get(run)?.load(Ordering::Acquire);
        // SAFETY: a run that is not null is a mapping of `RUN << run` slots that is never taken away, and `place`
        // gives an offset below that.
        (!run.is_null()).then(|| unsafe { &*run.add(offset) })
    }

    /// Maps the run that holds the slot of this index.
    fn grow(&self, index: usize) -> Option<&Slot> {
        if !self.growable {
            return None;
        }
        let (run, _) = place(index - self.first.len());
        let bytes = (RUN << run).checked_mul(size_of::<Slot>())?;
        let place = self.more.get(run)?;
        // SAFETY: a new anonymous mapping; it overlaps nothing.
        let memory = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return None;
        }
        // Zeroed memory is an array of valid, unclaimed slots.
        let mine = memory.cast::<Slot>();
        if place.compare_exchange(core::ptr::null_mut(), mine, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // SAFETY: the mapping made above, which nobody else has seen.
            unsafe { libc::munmap(memory, bytes) };
        }
        self.slot(index)
    }
}

/// The run, and the place in it, of the `index`-th added slot.
fn place(index: usize) -> (usize, usize) {
    let run = (index / RUN + 1).ilog2() as usize;
    (run, index - RUN * ((1 << run) - 1))
}

/// A counter of a backend's own, which its thread writes with plain stores.
#[cfg(not(loom))]
pub(crate) type Foreign = u64;
/// In a model, where it is written and read without any order, which is what plain memory gives at most.
#[cfg(loom)]
pub(crate) type Foreign = AtomicU64;

/// # Safety
/// The address is readable.
#[cfg(not(loom))]
unsafe fn read(counter: *const Foreign) -> u64 {
    // SAFETY: the caller's contract. Volatile, so that it is one load, which on the 64-bit targets that have such a
    // backend is whole.
    unsafe { counter.read_volatile() }
}

/// # Safety
/// The address is readable.
#[cfg(loom)]
unsafe fn read(counter: *const Foreign) -> u64 {
    // SAFETY: the caller's contract.
    unsafe { &*counter }.load(Ordering::Relaxed)
}

/// A backend's counter of another thread, 0 if there is none.
#[inline]
pub(super) fn read_foreign(counter: &AtomicPtr<Foreign>) -> u64 {
    let counter = counter.load(Ordering::Relaxed);
    if counter.is_null() {
        return 0;
    }
    // SAFETY: the lock is held, or this is the slot's owner, so the address is readable (`attach_backend`).
    unsafe { read(counter) }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn places_cover_every_added_slot_once() {
        let mut expected = (0, 0);
        for index in 0..RUN * 1000 {
            assert_eq!(place(index), expected);
            expected.1 += 1;
            if expected.1 == RUN << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
    }
}
