//! One budget for a tree of processes, in memory that they share.
//!
//! Each process has a *share*: the limit of its own ledger, which takes more here before it counts more, in chunks. The
//! shares never add up to more than the budget, so nobody has to know what another process counts. What a process that
//! has ended had is found when somebody is about to be refused.
//!
//! What a share has changes by a single store with the lock held, and whose it is by the last of some: whoever is killed in
//! the midst of it leaves too much taken at most, until it is found gone, and its lock may be taken over.

use core::mem::size_of;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A budget, and the shares in it. Zeroed memory is one that nobody takes for ready until [`TreeBudget::publish`].
#[repr(C)]
pub struct TreeBudget {
    /// Written last.
    magic: AtomicU64,
    version: AtomicU32,
    /// The process that changes something, or 0.
    holder: AtomicU32,
    bytes: AtomicU64,
    /// The processes' numbers mean the same to those of this namespace alone.
    namespace: AtomicU64,
    /// Shares from here on were never used.
    used: AtomicU32,
    /// When it was last looked for processes that ended.
    looked_ns: AtomicU64,
    refusals: AtomicU64,
    refused: Refused,
    shares: [Share; SHARES],
}

/// The first refusal.
#[repr(C)]
struct Refused {
    at_ns: AtomicU64,
    pid: AtomicU32,
    wanted: AtomicU64,
    largest_pid: AtomicU32,
    largest: AtomicU64,
}

#[repr(C)]
struct Share {
    /// Its process, or who is about to fork one; 0 for nobody's.
    pid: AtomicU32,
    /// The thread that is about to fork the process for which this is; 0 for one that runs.
    forked_by: AtomicU64,
    /// When the process started, as the kernel counts it: another one may have its number later.
    started: AtomicU64,
    bytes: AtomicU64,
}

/// Processes that there may be at once.
const SHARES: usize = 16 << 10;
const MAGIC: u64 = u64::from_le_bytes(*b"zmtree\0\x01");
const VERSION: u32 = 1;
/// What a process takes at least, and keeps at most, beside what it uses; less where there are many, or little.
const CHUNK: u64 = 1 << 20;
const CHUNK_MIN: u64 = 64 << 10;
/// How often it is looked for processes that ended, for each that is looked at: a part of the time of those that are refused
/// again and again.
const LOOK_INTERVAL_NS: u64 = 10_000;

/// The name of the file in a session's directory.
pub const TREE_BUDGET_FILE: &str = "tree.budget";

/// A process that has a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub pid: u32,
    /// When it started, in ticks since the machine did.
    pub started: u64,
}

/// What the budget needs of the system.
pub trait System {
    /// Now, in nanoseconds.
    fn now_ns(&self) -> u64;
    /// Whether a process runs. Answers true where that is not known.
    fn runs(&self, member: Member) -> bool;
    /// Lets others go on, after so many tries.
    fn relax(&self, tries: u32);
}

/// The share of a process: its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareIndex(pub u32);

/// The first request that a budget refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstRefusal {
    /// When, in nanoseconds since 1970.
    pub at_ns: u64,
    /// To whom.
    pub pid: u32,
    /// The bytes that were wanted.
    pub wanted: u64,
    /// Who had the most then.
    pub largest_pid: u32,
    /// The most, in bytes.
    pub largest: u64,
}

impl TreeBudget {
    /// Its size in memory, in bytes. Sparse.
    pub const BYTES: usize = size_of::<TreeBudget>();

    /// Sets the budget, and lets processes of this namespace in.
    pub fn publish(&self, bytes: u64, namespace: u64) {
        self.version.store(VERSION, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        self.namespace.store(namespace, Ordering::Relaxed);
        self.magic.store(MAGIC, Ordering::Release);
    }

    /// Whether it is one that this version knows, and for processes of this namespace.
    pub fn is_for(&self, namespace: u64) -> bool {
        self.magic.load(Ordering::Acquire) == MAGIC
            && self.version.load(Ordering::Relaxed) == VERSION
            && self.namespace.load(Ordering::Relaxed) == namespace
    }

    /// The budget, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many requests it refused, and the first one.
    pub fn refusals(&self) -> (u64, Option<FirstRefusal>) {
        let refused = &self.refused;
        let count = self.refusals.load(Ordering::Acquire);
        let first = FirstRefusal {
            at_ns: refused.at_ns.load(Ordering::Relaxed),
            pid: refused.pid.load(Ordering::Relaxed),
            wanted: refused.wanted.load(Ordering::Relaxed),
            largest_pid: refused.largest_pid.load(Ordering::Relaxed),
            largest: refused.largest.load(Ordering::Relaxed),
        };
        (count, (count > 0).then_some(first))
    }

    /// A process begins, which has so many bytes already: they are not refused. What this number had before, of the program
    /// that it was or of a process that is gone, goes back. `None` if there are too many processes.
    pub fn begin(&self, member: Member, bytes: u64, system: &impl System) -> Option<ShareIndex> {
        self.with_lock(member.pid, system, || {
            for share in self.used().filter(|share| share.is_of(member.pid)) {
                share.free();
            }
            self.claim(member, 0, bytes)
        })
    }

    /// Takes `wanted` bytes or more for a process, but at most `most`; 0 if there are not so many.
    pub fn take(&self, own: ShareIndex, member: Member, wanted: u64, most: u64, system: &impl System) -> u64 {
        let Some(share) = self.share(own).filter(|_| wanted <= most) else { return 0 };
        self.with_lock(member.pid, system, || {
            // Those that it is about to fork will have as much.
            let forked = self.used().filter(|share| share.is_of(member.pid) && share.is_forked()).count() as u64;
            let wanted_in_all = wanted.saturating_mul(1 + forked);
            if wanted_in_all > self.left() {
                self.look_for_ended(system);
            }
            let left = self.left();
            if wanted_in_all > left {
                return 0;
            }
            let spare = if forked == 0 { self.chunk().min((left - wanted) / 4).min(most - wanted) } else { 0 };
            for forked in self.used().filter(|share| share.is_of(member.pid) && share.is_forked()) {
                forked.add(wanted);
            }
            share.add(wanted + spare);
            wanted + spare
        })
    }

    /// What a process should keep at most beside what it uses.
    pub fn chunk(&self) -> u64 {
        let processes = self.used().filter(|share| !share.is_free()).count().max(1) as u64;
        (self.bytes() / (32 * processes)).clamp(CHUNK_MIN, CHUNK)
    }

    /// Gives bytes of a process's share back.
    pub fn give_back(&self, own: ShareIndex, member: Member, bytes: u64, system: &impl System) {
        let Some(share) = self.share(own) else { return };
        self.with_lock(member.pid, system, || {
            share.bytes.store(share.bytes().saturating_sub(bytes), Ordering::Relaxed)
        });
    }

    /// For a process that is about to be forked by this thread: as much as its parent has. `None` if there is not so much,
    /// or too many processes; where it has to be, it is given what there is not.
    pub fn reserve(
        &self,
        parent: Member,
        thread: u64,
        bytes: u64,
        has_to_be: bool,
        system: &impl System,
    ) -> Option<ShareIndex> {
        self.with_lock(parent.pid, system, || {
            // Of a fork before, whose child never came to adopt it.
            let known = self.reserved(parent, thread);
            let has = known.and_then(|share| self.share(share)).map_or(0, Share::bytes);
            let missing = bytes.saturating_sub(has);
            if missing > self.left() {
                self.look_for_ended(system);
            }
            if missing > self.left() && !has_to_be {
                return None;
            }
            let Some(known) = known else { return self.claim(parent, thread, bytes) };
            self.share(known)?.add(missing);
            Some(known)
        })
    }

    /// What was reserved for the process that this thread forks.
    pub fn reserved(&self, parent: Member, thread: u64) -> Option<ShareIndex> {
        let at =
            self.used().position(|share| share.is_of(parent.pid) && share.forked_by.load(Ordering::Relaxed) == thread);
        at.map(|at| ShareIndex(at as u32))
    }

    /// In the process that `thread` of `parent` forked: what was reserved is its own, as much of it as it needs. Where that is
    /// not there any more, as its parent ended meanwhile, it has what there may not be. `None` if there are too many processes.
    pub fn adopt(
        &self,
        reserved: ShareIndex,
        parent: Member,
        thread: u64,
        child: Member,
        bytes: u64,
        system: &impl System,
    ) -> Option<ShareIndex> {
        self.with_lock(child.pid, system, || {
            let is_for_child = |share: &&Share| {
                let is_reserved = share.is_of(parent.pid) && share.forked_by.load(Ordering::Relaxed) == thread;
                is_reserved || share.is_of(child.pid)
            };
            let Some(share) = self.share(reserved).filter(is_for_child) else { return self.claim(child, 0, bytes) };
            share.bytes.store(bytes, Ordering::Relaxed);
            share.started.store(child.started, Ordering::Relaxed);
            share.pid.store(child.pid, Ordering::Relaxed);
            share.forked_by.store(0, Ordering::Release);
            Some(reserved)
        })
    }

    /// In the parent, after the fork: the child may not have come to [`adopt`](TreeBudget::adopt) yet, and may never. Or
    /// there is none: then it goes back.
    pub fn forked(&self, reserved: ShareIndex, parent: Member, child: Option<Member>, system: &impl System) {
        let Some(share) = self.share(reserved) else { return };
        self.with_lock(parent.pid, system, || {
            // Otherwise the child was faster.
            if share.is_of(parent.pid) && share.is_forked() {
                match child {
                    Some(child) => {
                        share.started.store(child.started, Ordering::Relaxed);
                        share.pid.store(child.pid, Ordering::Relaxed);
                        share.forked_by.store(0, Ordering::Release);
                    }
                    None => share.free(),
                }
            }
        });
    }

    /// Whether this process is in the midst of a change: then a signal handler that asks interrupted it.
    pub fn is_held_by(&self, member: Member) -> bool {
        self.holder.load(Ordering::Relaxed) == member.pid
    }

    /// All shares that were ever used.
    fn used(&self) -> impl Iterator<Item = &Share> {
        self.shares.iter().take(self.used.load(Ordering::Acquire) as usize)
    }

    fn share(&self, index: ShareIndex) -> Option<&Share> {
        self.shares.get(index.0 as usize)
    }

    /// With the lock held.
    fn left(&self) -> u64 {
        let taken =
            self.used().filter(|share| !share.is_free()).fold(0u64, |sum, share| sum.saturating_add(share.bytes()));
        self.bytes().saturating_sub(taken)
    }

    /// With the lock held.
    fn claim(&self, member: Member, forked_by: u64, bytes: u64) -> Option<ShareIndex> {
        let at = self.shares.iter().position(Share::is_free)?;
        let share = self.shares.get(at)?;
        share.bytes.store(bytes, Ordering::Relaxed);
        share.started.store(member.started, Ordering::Relaxed);
        share.forked_by.store(forked_by, Ordering::Relaxed);
        share.pid.store(member.pid, Ordering::Release);
        self.used.fetch_max(at as u32 + 1, Ordering::Release);
        Some(ShareIndex(at as u32))
    }

    /// With the lock held: what processes had that have ended goes back.
    fn look_for_ended(&self, system: &impl System) {
        let now = system.now_ns();
        let interval = LOOK_INTERVAL_NS * u64::from(self.used.load(Ordering::Relaxed));
        if now.wrapping_sub(self.looked_ns.load(Ordering::Relaxed)) < interval {
            return;
        }
        self.looked_ns.store(now, Ordering::Relaxed);
        for share in self.used().filter(|share| !share.is_free()) {
            let member =
                Member { pid: share.pid.load(Ordering::Relaxed), started: share.started.load(Ordering::Relaxed) };
            if !system.runs(member) {
                share.free();
            }
        }
    }

    /// Notes that so many bytes were refused to a process.
    pub fn note_refusal(&self, member: Member, wanted: u64, system: &impl System) {
        self.with_lock(member.pid, system, || self.note(member, wanted, system));
    }

    /// With the lock held.
    fn note(&self, member: Member, wanted: u64, system: &impl System) {
        if self.refusals.load(Ordering::Relaxed) == 0 {
            let largest = self.used().filter(|share| !share.is_free()).max_by_key(|share| share.bytes());
            let refused = &self.refused;
            refused.at_ns.store(system.now_ns(), Ordering::Relaxed);
            refused.pid.store(member.pid, Ordering::Relaxed);
            refused.wanted.store(wanted, Ordering::Relaxed);
            if let Some(largest) = largest {
                refused.largest_pid.store(largest.pid.load(Ordering::Relaxed), Ordering::Relaxed);
                refused.largest.store(largest.bytes(), Ordering::Relaxed);
            }
        }
        self.refusals.fetch_add(1, Ordering::Release);
    }

    /// Runs a section with the lock held by this process. Its ledger's lock is around it, or nobody else is there, so that no
    /// signal handler waits for what it interrupted.
    fn with_lock<R>(&self, pid: u32, system: &impl System, section: impl FnOnce() -> R) -> R {
        /// Tries between two looks whether the holder is there.
        const PATIENCE: u32 = 1 << 10;
        let mut tries = 0u32;
        while let Err(holder) = self.holder.compare_exchange(0, pid, Ordering::Acquire, Ordering::Relaxed) {
            // No other thread of this process is in a section: the program that it was before was, or a process of its number.
            if holder == pid {
                break;
            }
            tries += 1;
            // `started` of the holder is not known: any process of its number will do.
            if tries.is_multiple_of(PATIENCE) && !system.runs(Member { pid: holder, started: 0 }) {
                let _ = self.holder.compare_exchange(holder, 0, Ordering::Relaxed, Ordering::Relaxed);
            }
            system.relax(tries);
        }
        let result = section();
        self.holder.store(0, Ordering::Release);
        result
    }
}

impl Share {
    fn is_free(&self) -> bool {
        self.pid.load(Ordering::Acquire) == 0
    }

    fn is_of(&self, pid: u32) -> bool {
        self.pid.load(Ordering::Acquire) == pid
    }

    fn is_forked(&self) -> bool {
        self.forked_by.load(Ordering::Acquire) != 0
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: u64) {
        self.bytes.store(self.bytes().saturating_add(bytes), Ordering::Relaxed);
    }

    fn free(&self) {
        self.pid.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::{Cell, RefCell};

    /// Processes as a test wants them.
    #[derive(Default)]
    struct Model {
        now: Cell<u64>,
        gone: RefCell<Vec<Member>>,
    }

    impl System for Model {
        fn now_ns(&self) -> u64 {
            self.now.set(self.now.get() + 100 * LOOK_INTERVAL_NS);
            self.now.get()
        }

        fn runs(&self, member: Member) -> bool {
            !self.gone.borrow().contains(&member)
        }

        fn relax(&self, _: u32) {}
    }

    fn budget(bytes: u64) -> Box<TreeBudget> {
        // SAFETY: zeroed memory of its layout is one, as its documentation says.
        let budget = unsafe { Box::<TreeBudget>::new_zeroed().assume_init() };
        assert!(!budget.is_for(7));
        budget.publish(bytes, 7);
        assert!(budget.is_for(7) && !budget.is_for(8));
        budget
    }

    const A: Member = Member { pid: 10, started: 1 };
    const B: Member = Member { pid: 20, started: 2 };
    const MOST: u64 = u64::MAX;

    #[test]
    fn shares_add_up_to_the_budget_and_no_more() {
        let (system, budget) = (Model::default(), budget(100 << 20));
        let (a, b) = (budget.begin(A, 1000, &system).unwrap(), budget.begin(B, 0, &system).unwrap());
        let given = budget.take(a, A, 60 << 20, MOST, &system);
        assert!((60 << 20..=61 << 20).contains(&given));
        assert_eq!(budget.take(b, B, 50 << 20, MOST, &system), 0);
        budget.note_refusal(B, 50 << 20, &system);
        let (count, first) = budget.refusals();
        let first = first.unwrap();
        assert_eq!((count, first.pid, first.wanted, first.largest_pid), (1, B.pid, 50 << 20, A.pid));
        assert_eq!(first.largest, 1000 + given);
        // To the byte: as little as there is.
        let left = (100 << 20) - 1000 - given;
        assert_eq!(budget.take(b, B, left, MOST, &system), left);
        assert_eq!(budget.take(a, A, 1, MOST, &system), 0);
        budget.give_back(a, A, given, &system);
        assert_eq!(budget.take(b, B, given + 1, MOST, &system), 0);
        assert_eq!(budget.take(b, B, given, given, &system), given);
        assert_eq!(budget.take(b, B, 2, 1, &system), 0, "more than it may");
    }

    #[test]
    fn what_ended_gives_back() {
        let (system, budget) = (Model::default(), budget(10 << 20));
        let (a, b) = (budget.begin(A, 0, &system).unwrap(), budget.begin(B, 0, &system).unwrap());
        assert!(budget.take(a, A, 9 << 20, MOST, &system) > 0);
        assert_eq!(budget.take(b, B, 5 << 20, MOST, &system), 0);
        system.gone.borrow_mut().push(A);
        assert!(budget.take(b, B, 5 << 20, MOST, &system) > 0);
        // The number again is another process; and another program of it begins anew.
        let again = budget.begin(Member { started: 3, ..A }, 1 << 20, &system).unwrap();
        assert!(budget.take(again, A, 2 << 20, MOST, &system) > 0);
        assert_eq!(budget.begin(Member { started: 3, ..A }, 0, &system), Some(again));
        assert!(budget.take(again, A, 3 << 20, MOST, &system) > 0);
    }

    #[test]
    fn a_lock_of_the_dead_is_taken_over() {
        let (system, budget) = (Model::default(), budget(1 << 20));
        budget.holder.store(99, Ordering::Relaxed);
        system.gone.borrow_mut().push(Member { pid: 99, started: 0 });
        assert!(budget.begin(A, 0, &system).is_some());
    }

    #[test]
    fn a_child_needs_as_much_as_its_parent() {
        let (system, budget) = (Model::default(), budget(10 << 20));
        let a = budget.begin(A, 4 << 20, &system).unwrap();
        let reserved = budget.reserve(A, 5, 4 << 20, false, &system).unwrap();
        assert_eq!(budget.reserve(A, 6, 4 << 20, false, &system), None, "a third would be too much");
        assert_eq!((budget.reserved(A, 5), budget.reserved(A, 6)), (Some(reserved), None));
        // What the parent takes meanwhile, the child will have as well.
        assert_eq!(budget.take(a, A, 2 << 20, MOST, &system), 0);
        assert_eq!(budget.take(a, A, 1 << 20, MOST, &system), 1 << 20);
        assert_eq!(budget.left(), 0);
        assert_eq!(budget.adopt(reserved, A, 5, B, 5 << 20, &system), Some(reserved));
        budget.forked(reserved, A, Some(B), &system);
        assert_eq!(budget.left(), 0);
        budget.give_back(reserved, B, 5 << 20, &system);
        // A fork that failed gives back what it reserved; one that had to be takes what there is not.
        let failed = budget.reserve(A, 5, 5 << 20, false, &system).unwrap();
        budget.forked(failed, A, None, &system);
        assert_eq!(budget.left(), 5 << 20);
        let forced = budget.reserve(A, 5, 50 << 20, true, &system).unwrap();
        assert_eq!(budget.left(), 0);
        budget.forked(forced, A, Some(Member { pid: 30, started: 9 }), &system);
        system.gone.borrow_mut().push(Member { pid: 30, started: 9 });
        assert!(budget.take(a, A, 1 << 20, MOST, &system) > 0, "it never came to adopt it");
        // What is gone by the time, or another's, is not taken.
        let child = Member { pid: 40, started: 4 };
        let own = budget.adopt(a, A, 5, child, 1 << 20, &system).unwrap();
        assert!(own != a && budget.adopt(own, A, 5, child, 1 << 20, &system) == Some(own));
    }
}
