//! Who holds how much: per-thread sums, added up when somebody asks.
//!
//! A thread adds the bytes of its own operations to its own slot, with plain instructions; or, over an allocator that
//! keeps exact counters of its own, adds nothing at all. Sums only grow: what lives is the difference of two of them.

#![cfg_attr(not(ledger_slots), allow(dead_code, reason = "the slower ways use a part of the ledger"))]

#[cfg(all(feature = "ledger-lock", feature = "ledger-shared-atomic"))]
compile_error!(
    "zmalloc: the features `ledger-lock` and `ledger-shared-atomic` are two ways to count, so they exclude each other; \
     enable one of them, or none for the fastest way"
);

mod ask;
mod backend_counts;
mod barrier;
mod details;
mod fork;
mod guard;
mod initial_exec;
pub(crate) mod limit;
mod local;
mod once;
mod peak;
mod pool;
mod request;
#[cfg(ledger_slots)]
mod segment;
#[cfg(ledger_slots)]
mod segment_reader;
mod share;
mod size_class;
mod slot;
mod small_sizes;
mod step;
mod sync;
#[cfg(test)]
mod test_child;
mod thread;
#[cfg(not(ledger_slots))]
mod thread_sums;
mod totals;
#[cfg(ledger_slots)]
mod tree_budget;
#[cfg_attr(ledger_slots, path = "way_slots.rs")]
#[cfg_attr(ledger_shared_atomic, path = "way_shared_atomic.rs")]
#[cfg_attr(ledger_lock, path = "way_lock.rs")]
mod way;

#[doc(hidden)]
pub use ask::{admit, charge_admitted, is_armed, land, recharge_unasked, set_limit};
pub(crate) use ask::{ask_always, asks_always, is_interrupted, watch_above};
pub(crate) use backend_counts::{
    Counting, admit_backend, begin_backend, charge_details, credit_details, settle_backend,
};
pub use details::{ByOwner, Detail, Detailed, Details, SizeClasses, TotalsOnly};
#[doc(hidden)]
pub use fork::{after_in_child as after_fork_in_child, after_in_parent as after_fork_in_parent, before as before_fork};
pub(crate) use fork::{generation, in_children};
#[doc(hidden)]
pub use limit::LARGE;
pub(crate) use local::{backend_counts, is_unasked};
pub use pool::Pool;
#[doc(hidden)]
pub use request::{Request, RequestCell, RequestFile};
#[cfg(ledger_slots)]
pub use segment::{
    AT_LIMIT_VARIABLE, Identity, LIMIT_MAPPED_VARIABLE, LIMIT_VARIABLE, Notes, SEGMENT_SLOTS, SEGMENT_VERSION,
    SESSION_VARIABLE, Segment, SegmentError, Snapshot,
};
#[cfg(ledger_slots)]
pub use segment_reader::{SegmentReader, Sums};
#[doc(hidden)]
pub use share::{
    Source, add_beside, frees_not_told, give_back_beside, give_back_share, limit_share, raise_limit, share_bytes,
    share_limit, take_beside, with_lock,
};
pub use size_class::{ClassTotals, SIZE_CLASSES, size_class, size_class_limit};
pub use slot::Slot;
#[cfg(target_has_atomic = "64")]
pub(crate) use thread::{Errno, before_thread_end};
pub use totals::Totals;
#[cfg(ledger_slots)]
#[doc(hidden)]
pub use tree_budget::{FirstRefusal, Member, Seen, ShareIndex, System, TREE_BUDGET_FILE, TreeBudget};
#[cfg(ledger_slots)]
#[doc(hidden)]
pub use way::has_room;
#[doc(hidden)]
pub use way::{charge, credit};
#[cfg(ledger_slots)]
#[doc(hidden)]
pub use way::{finish_charge, try_charge, try_credit};

use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Bytes the program holds now: the sum of the charged sizes of all live blocks, over all threads.
///
/// Exact to the byte when no other thread allocates or frees meanwhile. Otherwise it is never negative, at least what
/// lived when the read began less what was freed since, and above the truth by at most what was freed during the read
/// (up to four readings are made to keep that under 64 KiB).
///
/// Cost: two cache lines per thread alive, at most 5 us with 64 threads; a short lock that no allocation takes. Inside
/// a signal handler that interrupted such a reading, the answer is that of the last reading.
#[inline]
pub fn used_memory() -> usize {
    totals().live_bytes() as usize
}

/// Bytes allocated and freed since the program started; freshness and cost as [`used_memory`].
pub fn totals() -> Totals {
    way::totals()
}

/// The most bytes the program ever held at once, in bytes.
///
/// Looked at when a thread's own live bytes rise, not on every call, and now. It is never above what a reading of
/// [`used_memory`] at that moment gave, and below the true peak by at most 5 steps (over jemalloc 9, over
/// it and another 14) for each thread, where a step is 64 KiB or, if that is more, 1/256 of the peak divided by the
/// number of threads. Threads without a slot, as in destructors that run late, are one thread together. Over jemalloc a
/// block that is being resized may be in it twice, as jemalloc counts the new one before it takes the old one back.
pub fn peak_memory() -> usize {
    way::peak() as usize
}

/// The calling thread's own sums: how much they differ is what the thread did in between. `None` for a thread that has no
/// sums of its own, as in destructors that run late. Cost: a handful of loads; never a lock, but for a thread's first call.
#[cfg(target_has_atomic = "64")]
#[inline]
pub(crate) fn thread_totals() -> Option<Totals> {
    way::thread_totals()
}

/// Threads that the ledger has seen and that are alive.
pub fn threads() -> usize {
    pool().threads()
}

/// Requested bytes, live blocks and the size-class histogram, of the operations that were counted with that detail:
/// see [`Detailed`]. Freshness as [`used_memory`]; cost: a few microseconds per thread.
pub fn details() -> Details {
    way::details()
}

/// As [`credit`], which in the slower ways every thread can.
#[cfg(not(ledger_slots))]
pub(crate) fn try_credit<D: Detail>(requested: usize, charged: usize) -> bool {
    credit::<D>(requested, charged);
    true
}

/// The slots in use: the program's own, or those adopted.
static POOL: AtomicPtr<[Slot; 0]> = AtomicPtr::new(core::ptr::null_mut());
static POOL_SLOTS: AtomicUsize = AtomicUsize::new(0);

const OWN_SLOTS: usize = 32;
static OWN: Pool<[Slot; OWN_SLOTS]> = Pool::new();

/// Makes the memory of a slot ready for use; see [`adopt`].
#[doc(hidden)]
pub type MakeReady = fn(*const u8, usize) -> bool;

static MAKE_READY: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

fn make_ready(slot: &Slot) -> bool {
    let make_ready = MAKE_READY.load(Ordering::Relaxed);
    if make_ready.is_null() {
        return true;
    }
    // SAFETY: only `adopt` stores here, and only a `MakeReady`.
    let make_ready = unsafe { core::mem::transmute::<*mut (), MakeReady>(make_ready) };
    make_ready(core::ptr::from_ref(slot).cast(), size_of::<Slot>())
}

/// Counts into `pool` from now on, so that another process can read along, instead of into the program's own.
///
/// Before a thread first uses a slot, `make_ready` is told its address and bytes: where the memory behind it may be
/// refused, it gets it now, or answers false, and the thread counts in the shared slot.
///
/// # Safety
/// 1. No operation was counted yet, in any thread. 2. `pool` is a valid pool, zeroed or of a parent process, that
///    stays mapped for the rest of the program.
#[doc(hidden)]
pub unsafe fn adopt(pool: &'static Pool, make_ready: MakeReady) {
    MAKE_READY.store(make_ready as *mut (), Ordering::Relaxed);
    POOL_SLOTS.store(pool.first_slots(), Ordering::Relaxed);
    POOL.store(core::ptr::from_ref(pool).cast_mut().cast(), Ordering::Release);
}

pub(crate) fn pool() -> &'static Pool {
    let adopted = POOL.load(Ordering::Acquire);
    if adopted.is_null() {
        return &OWN;
    }
    let slots = POOL_SLOTS.load(Ordering::Relaxed);
    // SAFETY: `adopt` was given a reference to a pool with this many slots, for the rest of the program.
    unsafe { &*(core::ptr::slice_from_raw_parts(adopted.cast::<Slot>(), slots) as *const Pool) }
}
