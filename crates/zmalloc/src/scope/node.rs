//! The counters of one scope.

use super::figures::Sums;
use super::owner;
use super::rest::Rest;
use crate::ledger::Totals;
use crate::owner::Tag;
use core::num::NonZeroUsize;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// A scope's counters; when the scope has ended, those of another one. Never freed, so that a guard that was forgotten
/// refers to a node, if not to its own.
///
/// A scope is mostly entered by one thread, or by one at a time: the first adds with plain instructions, others take
/// turns with one atomic exchange, and only those that come at once add atomically.
///
/// The first thread's counters and what entering reads are on the first line; on the second, what is added up with them.
#[repr(C, align(128))]
pub(super) struct Node {
    /// The first thread that counts into it, by its number; 0 for none yet. Only that one writes to `home`.
    at_home: AtomicUsize,
    home: Counters,
    /// Which scope it is, of all there ever were, and in the low bits its tag; 0 for none.
    serial: AtomicU64,
    /// The scope around it, or null. Set before the scope is given out.
    parent: AtomicPtr<Node>,
    peak_own: AtomicI64,
    peak_total: AtomicI64,
    away: Counters,
    shared: Counters,
    /// Its bytes that were freed elsewhere, where blocks have owners.
    rest: Rest,
    /// Live bytes of all scopes below, those that ended included.
    below: AtomicI64,
    /// Another thread counts into `away`. Those that come meanwhile do not wait: they count into `shared`.
    busy: AtomicBool,
    /// Handles, and children; and one for all its blocks, when they alone keep it.
    references: AtomicU64,
    /// What was added to `rest` for as long as they do.
    watched: AtomicI64,
    limit_soft: Limit,
    limit_hard: Limit,
    /// Its place in the tree's entries.
    pub(super) index: usize,
    /// See `owner`.
    pub(super) next_done: AtomicPtr<Node>,
}

#[derive(Default)]
struct Counters {
    allocated: AtomicU64,
    freed: AtomicU64,
    entered: AtomicU64,
}

impl Node {
    pub(super) fn new(index: usize) -> Node {
        Node {
            at_home: AtomicUsize::new(0),
            home: Counters::default(),
            busy: AtomicBool::new(false),
            away: Counters::default(),
            shared: Counters::default(),
            rest: Rest::new(),
            below: AtomicI64::new(0),
            peak_own: AtomicI64::new(0),
            peak_total: AtomicI64::new(0),
            serial: AtomicU64::new(0),
            references: AtomicU64::new(0),
            watched: AtomicI64::new(0),
            parent: AtomicPtr::new(core::ptr::null_mut()),
            limit_soft: Limit::new(),
            limit_hard: Limit::new(),
            index,
            next_done: AtomicPtr::new(core::ptr::null_mut()),
        }
    }

    /// Begins as the scope of this number, with one handle.
    pub(super) fn begin(&self, number: u64, parent: Option<&'static Node>) {
        self.parent.store(
            parent.map_or(core::ptr::null_mut(), |node| core::ptr::from_ref(node).cast_mut()),
            Ordering::Relaxed,
        );
        self.peak_own.store(0, Ordering::Relaxed);
        self.peak_total.store(0, Ordering::Relaxed);
        self.limit_soft.set(None);
        self.limit_hard.set(None);
        // Who is at home stays so: a thread whose guard was forgotten may be about to write there.
        self.serial.store(number << Tag::BITS | u64::from(owner::tag(self.index)), Ordering::Relaxed);
        self.references.store(1, Ordering::Release);
    }

    /// Ends as a scope, and gives its sums away. Who counts into it all the same counts for the next.
    pub(super) fn end(&self) -> Sums {
        self.serial.store(0, Ordering::Relaxed);
        self.shared.freed.fetch_add(self.rest.take(), Ordering::Relaxed);
        let sums = self.own();
        // Taken from what anybody may change at any time, and not set to 0, so that nothing is lost.
        self.shared.allocated.fetch_sub(sums.allocated, Ordering::Relaxed);
        self.shared.freed.fetch_sub(sums.freed, Ordering::Relaxed);
        self.shared.entered.fetch_sub(sums.entered, Ordering::Relaxed);
        self.below.fetch_sub(self.below.load(Ordering::Relaxed), Ordering::Relaxed);
        sums
    }

    /// Adds what a thread, of this number, did in the scope, and how often it left it.
    #[inline]
    pub(super) fn count(&'static self, thread: NonZeroUsize, flow: Totals, entered: u64) {
        let quiet = flow == Totals::default();
        if quiet && entered == 0 {
            return;
        }
        if self.at_home.load(Ordering::Relaxed) == thread.get() {
            self.home.add_alone(flow, entered);
        } else {
            self.count_away(thread, flow, entered);
        }
        if !quiet {
            self.look(flow.allocated_bytes.wrapping_sub(flow.freed_bytes) as i64);
        }
    }

    /// As `count`, for a thread that is not known to be at home.
    #[inline(never)]
    fn count_away(&self, thread: NonZeroUsize, flow: Totals, entered: u64) {
        let is_nobodys = self.at_home.load(Ordering::Relaxed) == 0;
        if is_nobodys && self.at_home.compare_exchange(0, thread.get(), Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.home.add_alone(flow, entered);
        } else if self.busy.swap(true, Ordering::Acquire) {
            self.shared.add(flow, entered);
        } else {
            self.away.add_alone(flow, entered);
            self.busy.store(false, Ordering::Release);
        }
    }

    /// Counts bytes of its blocks that were freed elsewhere. True if nobody refers to the scope and these were the last:
    /// until then, it and those around it stay.
    pub(super) fn take_back(&'static self, bytes: u64) -> bool {
        let mut above = self.parent();
        while let Some(node) = above {
            node.below.fetch_sub(bytes as i64, Ordering::Relaxed);
            above = node.parent();
        }
        self.rest.give_back(bytes)
    }

    /// After live bytes changed by so many: tells the scopes around, and looks for peaks.
    fn look(&'static self, change: i64) {
        let own = self.own().live();
        raise(&self.peak_own, own);
        raise(&self.peak_total, own.wrapping_add(self.below.load(Ordering::Relaxed)));
        if change == 0 {
            return;
        }
        let mut above = self.parent();
        while let Some(node) = above {
            let below = node.below.fetch_add(change, Ordering::Relaxed).wrapping_add(change);
            raise(&node.peak_total, node.own().live().wrapping_add(below));
            above = node.parent();
        }
    }

    /// What was counted in the scope itself.
    ///
    /// Allocations are read before frees and written after them, so live bytes are never above what lived at a moment.
    pub(super) fn own(&self) -> Sums {
        let sums = self.counted();
        Sums { freed: sums.freed.wrapping_add(self.rest.given_back()), ..sums }
    }

    /// The same, without what others gave back.
    fn counted(&self) -> Sums {
        let sum = |counter: fn(&Counters) -> &AtomicU64| {
            let all = [&self.home, &self.away, &self.shared].map(|counters| counter(counters).load(Ordering::Acquire));
            all.into_iter().fold(0, u64::wrapping_add)
        };
        let allocated = sum(|counters| &counters.allocated);
        Sums { allocated, freed: sum(|counters| &counters.freed), entered: sum(|counters| &counters.entered) }
    }

    /// Live bytes, with those of the scopes below.
    pub(super) fn live_total(&self) -> i64 {
        self.own().live().wrapping_add(self.below.load(Ordering::Relaxed))
    }

    pub(super) fn peak_own(&self) -> u64 {
        self.peak_own.load(Ordering::Relaxed) as u64
    }

    pub(super) fn peak_total(&self) -> u64 {
        self.peak_total.load(Ordering::Relaxed) as u64
    }

    #[inline]
    pub(super) fn serial(&self) -> u64 {
        self.serial.load(Ordering::Relaxed)
    }

    pub(super) fn parent(&self) -> Option<&'static Node> {
        // SAFETY: null, or a node, which is never freed.
        unsafe { self.parent.load(Ordering::Relaxed).as_ref() }
    }

    pub(super) fn limit_soft(&self) -> &Limit {
        &self.limit_soft
    }

    pub(super) fn limit_hard(&self) -> &Limit {
        &self.limit_hard
    }

    /// One more handle or child, for one who has a handle.
    pub(super) fn refer(&self) {
        self.references.fetch_add(1, Ordering::Relaxed);
    }

    /// One more handle, unless the scope has ended.
    pub(super) fn try_refer(&'static self) -> Option<&'static Node> {
        let more = |references: u64| (references > 0).then(|| references + 1);
        self.references.fetch_update(Ordering::Acquire, Ordering::Relaxed, more).ok().map(|_| self)
    }

    /// After the last handle or child went: whether blocks of its own keep the scope. Then they have one reference, to be
    /// let go after `stop_watching`. With the tree's lock.
    pub(super) fn is_kept_by_blocks(&self) -> bool {
        if owner::tag(self.index) == 0 || !crate::owner::is_used() {
            return false;
        }
        // Nobody adds to these any more, while others give back all along.
        let held = self.counted().live();
        // What it shows as freed stays the same.
        self.shared.freed.fetch_add(held as u64, Ordering::Relaxed);
        self.watched.store(held, Ordering::Relaxed);
        let kept = self.rest.watch(held);
        if kept {
            self.references.store(1, Ordering::Release);
        } else {
            self.stop_watching();
        }
        kept
    }

    /// After `take_back` said that all is back: counts as before, for who may have come to refer to the scope again. With
    /// the tree's lock.
    pub(super) fn stop_watching(&self) {
        let held = self.watched.load(Ordering::Relaxed);
        self.rest.stop_watching(held);
        self.shared.freed.fetch_sub(held as u64, Ordering::Relaxed);
    }

    /// One handle or child less; true if it was the last: then the caller retires the scope.
    pub(super) fn let_go(&self) -> bool {
        self.references.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

impl Counters {
    /// By the one who is alone.
    #[inline]
    fn add_alone(&self, flow: Totals, entered: u64) {
        let add = |counter: &AtomicU64, amount| {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Release);
        };
        add(&self.freed, flow.freed_bytes);
        add(&self.allocated, flow.allocated_bytes);
        add(&self.entered, entered);
    }

    /// By anybody.
    #[cold]
    fn add(&self, flow: Totals, entered: u64) {
        self.freed.fetch_add(flow.freed_bytes, Ordering::Release);
        self.allocated.fetch_add(flow.allocated_bytes, Ordering::Release);
        self.entered.fetch_add(entered, Ordering::Release);
    }
}

/// A limit in bytes, or none.
pub(super) struct Limit(AtomicU64);

impl Limit {
    fn new() -> Limit {
        Limit(AtomicU64::new(u64::MAX))
    }

    pub(super) fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&limit| limit != u64::MAX)
    }

    pub(super) fn set(&self, limit: Option<u64>) {
        self.0.store(limit.unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

#[inline]
fn raise(peak: &AtomicI64, live: i64) {
    if live > peak.load(Ordering::Relaxed) {
        peak.fetch_max(live, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> &'static Node {
        let node = Box::leak(Box::new(Node::new(0)));
        node.begin(1, None);
        node
    }

    fn flow(allocated_bytes: u64, freed_bytes: u64) -> Totals {
        Totals { allocated_bytes, freed_bytes }
    }

    fn sums(node: &Node) -> (u64, u64, u64) {
        let Sums { allocated, freed, entered } = node.own();
        (allocated, freed, entered)
    }

    #[test]
    fn threads_that_count_at_once_lose_nothing() {
        const TIMES: u64 = 300_000;
        let (node, start) = (node(), std::sync::Barrier::new(4));
        let start = &start;
        std::thread::scope(|threads| {
            for thread in 1..=4 {
                let number = NonZeroUsize::new(thread).unwrap();
                threads.spawn(move || {
                    start.wait();
                    (0..TIMES).for_each(|_| node.count(number, flow(10, 3), 1));
                });
            }
        });
        assert_eq!(sums(node), (4 * TIMES * 10, 4 * TIMES * 3, 4 * TIMES));
        assert_eq!(node.peak_own(), 4 * TIMES * 7);
    }

    #[test]
    fn nobody_waits_for_a_thread_that_is_counting() {
        let node = node();
        let [first, second] = [1, 2].map(|thread| NonZeroUsize::new(thread).unwrap());
        node.count(first, flow(1, 0), 1);
        // As in a child that was forked meanwhile, which does not have that thread.
        node.busy.store(true, Ordering::Relaxed);
        node.count(second, flow(20, 5), 1);
        node.count(first, flow(300, 0), 0);
        assert_eq!(sums(node), (321, 5, 2));
    }

    #[test]
    fn what_is_counted_after_the_end_counts_for_the_next() {
        let node = node();
        let thread = NonZeroUsize::MIN;
        node.count(thread, flow(100, 30), 1);
        let Sums { allocated, freed, entered } = node.end();
        assert_eq!((allocated, freed, entered), (100, 30, 1));
        assert_eq!(sums(node), (0, 0, 0));
        node.count(thread, flow(7, 0), 0);
        node.begin(2, None);
        assert_eq!((sums(node), node.peak_own()), ((7, 0, 0), 0));
    }
}
