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
    /// Shares from here on were never used.
    used: AtomicU32,
    /// The process that changes something, or 0: see [`Member::as_holder`].
    holder: AtomicU64,
    bytes: AtomicU64,
    /// The processes' numbers mean the same to those of this namespace alone.
    namespace: AtomicU64,
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
    /// See [`Member`].
    started: AtomicU64,
    program: AtomicU64,
    bytes: AtomicU64,
}

/// Processes that there may be at once.
const SHARES: usize = 16 << 10;
const MAGIC: u64 = u64::from_le_bytes(*b"zmtree\0\x01");
const VERSION: u32 = 2;
/// What a process takes at least, and keeps at most, beside what it uses; less where there are many, or little.
const CHUNK: u64 = 1 << 20;
const CHUNK_MIN: u64 = 64 << 10;

/// The name of the file in a session's directory.
pub const TREE_BUDGET_FILE: &str = "tree.budget";

/// A process that has a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub pid: u32,
    /// When it started, in ticks since the machine did, or 0 if that is not known: another one may have its number later.
    pub started: u64,
    /// The file that it runs, or 0 if that is not known: it may become a program that counts nothing.
    pub program: u64,
}

impl Member {
    /// In one word, so that it is there as soon as the lock is taken: the number, and as much of the rest as there is room for.
    const fn as_holder(self) -> u64 {
        (self.program & 0xffff) << 48 | (self.started & 0xffff) << 32 | self.pid as u64
    }
}

/// What the system tells of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It has ended.
    Gone,
    /// It runs.
    Runs {
        /// As a [`Member`]'s.
        started: u64,
        /// As a [`Member`]'s.
        program: u64,
    },
    /// Neither is known.
    Unknown,
}

impl Seen {
    /// Whether it is known not to be this member any more: it ended, or became another program, which knows of no change that
    /// it is in the midst of.
    fn is_no_longer(self, member: Member) -> bool {
        let differ = |seen: u64, known: u64| ![seen, known].contains(&0) && seen != known;
        match self {
            Seen::Gone => true,
            Seen::Runs { started, program } => differ(started, member.started) || differ(program, member.program),
            Seen::Unknown => false,
        }
    }

    /// The same of the lock's holder, of whom less is known.
    fn is_no_longer_holder(self, holder: u64) -> bool {
        let part = |of: u64| of & 0xffff;
        let seen = match self {
            Seen::Runs { started, program } => Seen::Runs { started: part(started), program: part(program) },
            other => other,
        };
        let member = Member { pid: pid_of(holder), started: part(holder >> 32), program: part(holder >> 48) };
        seen.is_no_longer(member)
    }
}

/// What the budget needs of the system.
pub trait System {
    /// Now, in nanoseconds.
    fn now_ns(&self) -> u64;
    /// What is known of the process of this number.
    fn look_at(&self, pid: u32) -> Seen;
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

    /// Sets the budget anew. Nobody gives back what he uses of a larger one.
    pub fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
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
        self.with_lock(member, system, || {
            for share in self.used().filter(|share| share.is_of(member.pid)) {
                share.free();
            }
            self.claim(member, 0, bytes)
        })
    }

    /// Takes `wanted` bytes or more for a process, but at most `most`; 0 if there are not so many.
    pub fn take(&self, own: ShareIndex, member: Member, wanted: u64, most: u64, system: &impl System) -> u64 {
        let Some(share) = self.share(own).filter(|_| wanted <= most) else { return 0 };
        let take = || {
            // It was given to another, by somebody who could not see this process.
            if !share.is_of(member.pid) {
                return None;
            }
            // Those that it is about to fork will have as much.
            let forked = || self.used().filter(|share| share.is_of(member.pid) && share.is_forked());
            let count = forked().count() as u64;
            let left = self.left();
            if wanted.saturating_mul(1 + count) > left {
                return None;
            }
            let spare = if count == 0 { self.chunk().min((left - wanted) / 4).min(most - wanted) } else { 0 };
            for forked in forked() {
                forked.add(wanted);
            }
            share.add(wanted + spare);
            Some(wanted + spare)
        };
        self.or_once_ended_are_found(member, system, take).unwrap_or(0)
    }

    /// What a process should keep at most beside what it uses.
    pub fn chunk(&self) -> u64 {
        let processes = self.used().filter(|share| !share.is_free()).count().max(1) as u64;
        (self.bytes() / (32 * processes)).clamp(CHUNK_MIN, CHUNK)
    }

    /// Gives bytes of a process's share back.
    pub fn give_back(&self, own: ShareIndex, member: Member, bytes: u64, system: &impl System) {
        let Some(share) = self.share(own) else { return };
        self.with_lock(member, system, || {
            if share.is_of(member.pid) {
                share.bytes.store(share.bytes().saturating_sub(bytes), Ordering::Relaxed);
            }
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
        let reserve = |is_last: bool| {
            // Of a fork before, whose child never came to adopt it.
            let known = self.reserved(parent, thread);
            let has = known.and_then(|share| self.share(share)).map_or(0, Share::bytes);
            let missing = bytes.saturating_sub(has);
            if missing > self.left() && !(has_to_be && is_last) {
                return None;
            }
            let Some(known) = known else { return self.claim(parent, thread, bytes) };
            self.share(known)?.add(missing);
            Some(known)
        };
        let reserved = self.or_once_ended_are_found(parent, system, || reserve(false));
        reserved.or_else(|| has_to_be.then(|| self.with_lock(parent, system, || reserve(true)))?)
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
        self.with_lock(child, system, || {
            let is_for_child = |share: &&Share| {
                let is_reserved = share.is_of(parent.pid) && share.forked_by.load(Ordering::Relaxed) == thread;
                is_reserved || share.is_of(child.pid)
            };
            let Some(share) = self.share(reserved).filter(is_for_child) else { return self.claim(child, 0, bytes) };
            share.bytes.store(bytes, Ordering::Relaxed);
            share.begin(child);
            Some(reserved)
        })
    }

    /// In the parent, after the fork: the child may not have come to [`adopt`](TreeBudget::adopt) yet, and may never. Or
    /// there is none: then it goes back.
    pub fn forked(&self, reserved: ShareIndex, parent: Member, child: Option<Member>, system: &impl System) {
        let Some(share) = self.share(reserved) else { return };
        self.with_lock(parent, system, || {
            // Otherwise the child was faster.
            if share.is_of(parent.pid) && share.is_forked() {
                match child {
                    Some(child) => share.begin(child),
                    None => share.free(),
                }
            }
        });
    }

    /// Whether this process is in the midst of a change: then a signal handler that asks interrupted it.
    pub fn is_held_by(&self, member: Member) -> bool {
        pid_of(self.holder.load(Ordering::Relaxed)) == member.pid
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
        share.program.store(member.program, Ordering::Relaxed);
        share.forked_by.store(forked_by, Ordering::Relaxed);
        share.pid.store(member.pid, Ordering::Release);
        self.used.fetch_max(at as u32 + 1, Ordering::Release);
        Some(ShareIndex(at as u32))
    }

    /// Tries, with the lock held; and once more after what processes had that are found to have ended went back.
    fn or_once_ended_are_found<R>(
        &self,
        member: Member,
        system: &impl System,
        attempt: impl Fn() -> Option<R>,
    ) -> Option<R> {
        self.with_lock(member, system, &attempt).or_else(|| {
            self.look_for_ended(member, system);
            self.with_lock(member, system, &attempt)
        })
    }

    /// Gives back what processes had that have ended. It is looked at them without the lock, so that whoever is refused again
    /// and again costs the others nothing.
    fn look_for_ended(&self, member: Member, system: &impl System) {
        for share in self.used() {
            let seen = share.member();
            if seen.pid != 0 && system.look_at(seen.pid).is_no_longer(seen) {
                self.with_lock(member, system, || {
                    // Meanwhile it may have become another's, or begun anew.
                    if share.member() == seen {
                        share.free();
                    }
                });
            }
        }
    }

    /// Notes that so many bytes were refused to a process.
    pub fn note_refusal(&self, member: Member, wanted: u64, system: &impl System) {
        self.with_lock(member, system, || self.note(member, wanted, system));
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
    fn with_lock<R>(&self, member: Member, system: &impl System, section: impl FnOnce() -> R) -> R {
        /// Tries between two looks whether the holder is there.
        const PATIENCE: u32 = 1 << 10;
        let mut tries = 0u32;
        let as_holder = member.as_holder();
        while let Err(holder) = self.holder.compare_exchange(0, as_holder, Ordering::Acquire, Ordering::Relaxed) {
            // No other thread of this process is in a section: the program that it was before was, or a process of its number.
            if pid_of(holder) == member.pid {
                match self.holder.compare_exchange(holder, as_holder, Ordering::Acquire, Ordering::Relaxed) {
                    Ok(_) => break,
                    Err(_) => continue,
                }
            }
            tries += 1;
            if tries.is_multiple_of(PATIENCE) && system.look_at(pid_of(holder)).is_no_longer_holder(holder) {
                let _ = self.holder.compare_exchange(holder, 0, Ordering::Relaxed, Ordering::Relaxed);
            }
            system.relax(tries);
        }
        let result = section();
        self.holder.store(0, Ordering::Release);
        result
    }
}

fn pid_of(holder: u64) -> u32 {
    holder as u32
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

    fn member(&self) -> Member {
        let pid = self.pid.load(Ordering::Acquire);
        let [started, program] = [&self.started, &self.program].map(|part| part.load(Ordering::Relaxed));
        Member { pid, started, program }
    }

    /// With the lock held: a process that was forked has it from now on.
    fn begin(&self, child: Member) {
        self.started.store(child.started, Ordering::Relaxed);
        self.program.store(child.program, Ordering::Relaxed);
        self.pid.store(child.pid, Ordering::Relaxed);
        self.forked_by.store(0, Ordering::Release);
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

    /// Processes as a test wants them: those that are not told of run as they began.
    #[derive(Default)]
    struct Model {
        seen: RefCell<Vec<(u32, Seen)>>,
        looks: Cell<u32>,
    }

    impl Model {
        fn set(&self, pid: u32, seen: Seen) {
            self.seen.borrow_mut().push((pid, seen));
        }
    }

    impl System for Model {
        fn now_ns(&self) -> u64 {
            1
        }

        fn look_at(&self, pid: u32) -> Seen {
            self.looks.set(self.looks.get() + 1);
            let seen = self.seen.borrow();
            seen.iter().rev().find(|(of, _)| *of == pid).map_or(Seen::Unknown, |&(_, seen)| seen)
        }

        fn relax(&self, tries: u32) {
            assert!(tries < 100_000, "waits for ever");
        }
    }

    fn budget(bytes: u64) -> Box<TreeBudget> {
        // SAFETY: zeroed memory of its layout is one, as its documentation says.
        let budget = unsafe { Box::<TreeBudget>::new_zeroed().assume_init() };
        assert!(!budget.is_for(7));
        budget.publish(bytes, 7);
        assert!(budget.is_for(7) && !budget.is_for(8));
        budget
    }

    const A: Member = Member { pid: 10, started: 1, program: 7 };
    const B: Member = Member { pid: 20, started: 2, program: 7 };
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
        // It runs, in a program that is known or is not.
        for (started, program) in [(A.started, A.program), (A.started, 0)] {
            system.set(A.pid, Seen::Runs { started, program });
            assert_eq!(budget.take(b, B, 5 << 20, MOST, &system), 0);
        }
        system.set(A.pid, Seen::Gone);
        assert!(budget.take(b, B, 5 << 20, MOST, &system) > 0);
        system.set(A.pid, Seen::Unknown);
        // The number again is another process; and another program of it begins anew.
        let again = budget.begin(Member { started: 3, ..A }, 1 << 20, &system).unwrap();
        assert!(budget.take(again, A, 2 << 20, MOST, &system) > 0);
        assert_eq!(budget.begin(Member { started: 3, ..A }, 0, &system), Some(again));
        assert!(budget.take(again, A, 3 << 20, MOST, &system) > 0);
    }

    #[test]
    fn what_is_another_by_now_gives_back() {
        for (started, program) in [(A.started + 1, A.program), (A.started, A.program + 1)] {
            let (system, budget) = (Model::default(), budget(10 << 20));
            let (a, b) = (budget.begin(A, 0, &system).unwrap(), budget.begin(B, 0, &system).unwrap());
            assert!(budget.take(a, A, 9 << 20, MOST, &system) > 0);
            system.set(A.pid, Seen::Runs { started, program });
            // A process is looked at as soon as it is another, however lately it was before.
            assert!(budget.take(b, B, 5 << 20, MOST, &system) > 0);
        }
    }

    #[test]
    fn nobody_is_looked_at_as_long_as_there_is_enough() {
        let (system, budget) = (Model::default(), budget(10 << 20));
        let a = budget.begin(A, 0, &system).unwrap();
        assert!(budget.take(a, A, 9 << 20, MOST, &system) > 0);
        assert_eq!((system.looks.get(), budget.take(a, A, 9 << 20, MOST, &system)), (0, 0));
        assert_eq!(system.looks.get(), 1);
    }

    #[test]
    fn a_lock_of_the_dead_is_taken_over() {
        let dead = Member { pid: 99, started: 5 << 16 | 3, program: 7 };
        let another = Seen::Runs { started: 5 << 16 | 4, program: 7 };
        let another_program = Seen::Runs { started: 5 << 16 | 3, program: 8 };
        for (holder, seen) in [(dead, Seen::Gone), (dead, another), (dead, another_program), (A, Seen::Unknown)] {
            let (system, budget) = (Model::default(), budget(1 << 20));
            budget.holder.store(holder.as_holder(), Ordering::Relaxed);
            system.set(dead.pid, seen);
            assert!(budget.begin(A, 0, &system).is_some());
        }
    }

    #[test]
    #[should_panic(expected = "waits for ever")]
    fn a_lock_of_one_who_runs_is_waited_for() {
        let (system, budget) = (Model::default(), budget(1 << 20));
        let holder = Member { pid: 99, started: 5 << 16 | 3, program: 0 };
        budget.holder.store(holder.as_holder(), Ordering::Relaxed);
        system.set(holder.pid, Seen::Runs { started: holder.started, program: 1 });
        budget.begin(A, 0, &system);
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
        budget.forked(forced, A, Some(Member { pid: 30, started: 9, program: 7 }), &system);
        system.set(30, Seen::Gone);
        assert!(budget.take(a, A, 1 << 20, MOST, &system) > 0, "it never came to adopt it");
        // What is gone by the time, or another's, is not taken.
        let child = Member { pid: 40, started: 4, program: 7 };
        let own = budget.adopt(a, A, 5, child, 1 << 20, &system).unwrap();
        assert!(own != a && budget.adopt(own, A, 5, child, 1 << 20, &system) == Some(own));
    }
}
