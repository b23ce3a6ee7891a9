//! Scopes by owner against a naive model: random programs on several threads, over every backend. Blocks are freed and resized
//! by whoever, scopes end while their blocks live on, children are forked in between.
//!
//! The harness's own memory comes from std's `System` and is not counted. One test per process: the tree is global.
#![cfg(target_has_atomic = "64")]

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::task::{Context, Waker};
use std::thread;
use zmalloc::backend::{Backend, Libc, PlainLibc, SizePrefix};
use zmalloc::ledger::{ByOwner, Detail, Detailed, TotalsOnly};
use zmalloc::scope::{Guard, ScopeFigures, Snapshot, snapshot};
use zmalloc::{Scope, Zmalloc, used_memory};

#[test]
fn every_scope_has_what_it_allocated_and_is_not_freed() {
    check::<Libc, TotalsOnly>();
    check::<Libc, Detailed>();
    check::<SizePrefix<PlainLibc>, TotalsOnly>();
    #[cfg(feature = "jemalloc")]
    {
        check::<zmalloc::backend::Jemalloc, TotalsOnly>();
        check::<zmalloc::backend::Jemalloc, Detailed>();
    }
    #[cfg(feature = "mimalloc")]
    check::<zmalloc::backend::Mimalloc, TotalsOnly>();
    #[cfg(feature = "snmalloc")]
    check::<zmalloc::backend::Snmalloc, TotalsOnly>();
    #[cfg(feature = "tcmalloc")]
    check::<zmalloc::backend::Tcmalloc, TotalsOnly>();
    #[cfg(any(target_vendor = "apple", feature = "apple-stand-in"))]
    check::<zmalloc::backend::Apple, TotalsOnly>();
    thousands_of_scopes_end_with_their_blocks();
    if cfg!(not(any(feature = "ledger-shared-atomic", feature = "ledger-lock"))) {
        a_thread_that_ends_in_a_scope_leaves_its_blocks_there();
    }
    a_limit_is_one_of_what_is_owned();
    scopes_without_a_tag_count_the_flow();
}

fn check<B: Backend, D: Detail>() {
    let programs = prop::collection::vec(prop::collection::vec(operation(), 0..80), 1..4);
    let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
    runner.run(&programs, |programs| play::<B, D>(&programs)).unwrap();
}

#[derive(Clone, Debug)]
enum Operation {
    Allocate(usize),
    AllocateAligned(u32, usize),
    Resize(usize, usize),
    Free(usize),
    /// Leaves a block to any thread.
    Pass(usize),
    /// Frees a block that was passed.
    FreePassed,
    Enter(usize),
    /// Drops a guard, any of them.
    Leave(usize),
    /// Makes a scope within another, allocates there, and ends it.
    Brief(usize, usize),
    Settle,
}

fn operation() -> impl Strategy<Value = Operation> {
    let size = || prop_oneof![4 => 1..2000usize, 1 => 1..60_000usize];
    prop_oneof![
        6 => size().prop_map(Operation::Allocate),
        1 => (0..14u32, size()).prop_map(|(log, size)| Operation::AllocateAligned(log, size)),
        3 => (any::<usize>(), size()).prop_map(|(at, size)| Operation::Resize(at, size)),
        3 => any::<usize>().prop_map(Operation::Free),
        3 => any::<usize>().prop_map(Operation::Pass),
        3 => Just(Operation::FreePassed),
        5 => (0..PARENTS.len()).prop_map(Operation::Enter),
        3 => any::<usize>().prop_map(Operation::Leave),
        1 => (0..PARENTS.len(), size()).prop_map(|(parent, size)| Operation::Brief(parent, size)),
        1 => Just(Operation::Settle),
    ]
}

/// The scopes of each case, each by the number of its parent. Those made on the way have numbers from here on.
const PARENTS: [Option<usize>; 6] = [None, Some(0), Some(0), Some(2), None, Some(4)];
const OUTSIDE: usize = usize::MAX;

#[derive(Clone, Copy, Debug)]
struct Block {
    address: usize,
    charged: u64,
    owner: usize,
}

#[derive(Default)]
struct Model {
    /// Allocated and freed bytes, by owner.
    owned: Mutex<BTreeMap<usize, (u64, u64)>>,
    passed: Mutex<Vec<Block>>,
}

impl Model {
    fn brief(&self) -> usize {
        let mut owned = self.owned.lock().unwrap();
        let number = PARENTS.len() + owned.len();
        owned.insert(number, (0, 0));
        number
    }

    fn allocated(&self, owner: usize, bytes: u64) {
        self.owned.lock().unwrap().entry(owner).or_default().0 += bytes;
    }

    fn freed(&self, owner: usize, bytes: u64) {
        self.owned.lock().unwrap().entry(owner).or_default().1 += bytes;
    }

    fn passed(&self) -> usize {
        self.passed.lock().unwrap().len()
    }

    /// Holds a snapshot at rest against what is owned.
    fn compare(&self, shown: &Snapshot, before: &Snapshot) -> Result<(), TestCaseError> {
        let mut owned = self.owned.lock().unwrap().clone();
        let (allocated, freed) = owned.remove(&OUTSIDE).unwrap_or_default();
        let live = (allocated - freed) as i64;
        // What scopes that ended had counted was all freed.
        prop_assert_eq!(shown.outside.live_bytes - before.outside.live_bytes, live, "outside");
        prop_assert_eq!(shown.ended.live_bytes, 0);
        let mut sum = shown.outside.live_bytes;
        for scope in &shown.scopes {
            sum += compare(scope, &mut owned)?;
        }
        prop_assert_eq!(sum, shown.totals.live_bytes() as i64);
        prop_assert_eq!(sum, used_memory() as i64);
        for (number, (allocated, freed)) in owned {
            prop_assert_eq!(allocated, freed, "scope {} is not shown", number);
        }
        Ok(())
    }
}

/// Takes a scope and its children out of the model; answers their live bytes.
fn compare(figures: &ScopeFigures, owned: &mut BTreeMap<usize, (u64, u64)>) -> Result<i64, TestCaseError> {
    let number: usize = figures.name.strip_prefix("scope ").unwrap().parse().unwrap();
    let own = figures.own;
    let expected = owned.remove(&number).unwrap_or_default();
    prop_assert_eq!((own.allocated_bytes, own.freed_bytes), expected, "{}", &figures.path);
    prop_assert_eq!(own.live_bytes, (expected.0 - expected.1) as i64);
    prop_assert!(own.peak_live_bytes as i64 >= own.live_bytes);
    let mut total = own.live_bytes + figures.ended.live_bytes;
    prop_assert_eq!(figures.ended.live_bytes, 0);
    for child in &figures.children {
        total += compare(child, owned)?;
    }
    prop_assert_eq!(figures.total.live_bytes, total, "{} with its children", &figures.path);
    Ok(total)
}

fn play<B: Backend, D: Detail>(programs: &[Vec<Operation>]) -> Result<(), TestCaseError> {
    let before = snapshot();
    prop_assert!(before.scopes.is_empty(), "those of the last case are gone");
    let mut scopes: Vec<Scope> = Vec::new();
    for (number, parent) in PARENTS.iter().enumerate() {
        let name = format!("scope {number}");
        scopes.push(parent.map_or_else(|| Scope::new(name.clone()), |parent| scopes[parent].child(name.clone())));
    }
    let model = Model::default();
    thread::scope(|threads| {
        let running: Vec<_> = programs
            .iter()
            .map(|program| threads.spawn(|| Player::<B, D>::new(&scopes, &model).run(program)))
            .collect();
        // Joined one by one: the implicit join may come before a thread's slot is given back.
        running.into_iter().for_each(|thread| thread.join().unwrap());
    });
    model.compare(&snapshot(), &before)?;
    for scope in &scopes {
        prop_assert_eq!(scope.live_bytes(), scope.figures().total.live_bytes);
    }
    in_forked_child(|| {
        let player = Player::<B, D>::new(&scopes, &model);
        scopes[3].run(|| player.free_passed(model.passed() / 2));
        model.compare(&snapshot(), &before).unwrap();
    });

    // Nobody refers to them any more, and they stay as long as their blocks.
    let player = Player::<B, D>::new(&[], &model);
    player.free_passed(model.passed() / 3);
    drop(scopes);
    model.compare(&snapshot(), &before)?;
    // In a scope of another thread, or outside.
    let other = Scope::new("other");
    thread::scope(|threads| {
        let half = model.passed() / 2;
        let (model, other) = (&model, &other);
        let free = move || Player::<B, D>::new(&[], model).free_passed(half);
        threads.spawn(move || other.run(free)).join().unwrap();
    });
    prop_assert_eq!((other.live_bytes(), other.figures().own.freed_bytes), (0, 0));
    drop(other);
    model.compare(&snapshot(), &before)?;
    player.free_passed(usize::MAX);
    model.compare(&snapshot(), &before)?;
    prop_assert!(snapshot().scopes.is_empty(), "the last block's scope is gone");
    Ok(())
}

/// Runs `section` in a child, and passes its failure on.
fn in_forked_child(section: impl FnOnce()) {
    // SAFETY: the child uses what is safe between fork and exec on this C library: its allocator.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(section));
        // SAFETY: ends the child at once, without the harness's own end.
        unsafe { libc::_exit(i32::from(result.is_err())) };
    }
    let mut status = 0;
    // SAFETY: a child of this process, and a writable status.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "the child failed");
}

/// A thread's part of a case.
struct Player<'case, B: Backend, D: Detail> {
    scopes: &'case [Scope],
    model: &'case Model,
    heap: Zmalloc<B, ByOwner<D>>,
    blocks: Vec<Block>,
    /// Innermost last.
    guards: Vec<(usize, Guard<'case>)>,
}

impl<'case, B: Backend, D: Detail> Player<'case, B, D> {
    fn new(scopes: &'case [Scope], model: &'case Model) -> Self {
        let heap = Zmalloc::new();
        Player { scopes, model, heap, blocks: Vec::new(), guards: Vec::new() }
    }

    fn run(mut self, program: &[Operation]) {
        program.iter().for_each(|operation| self.step(operation));
        self.model.passed.lock().unwrap().append(&mut self.blocks);
        // In the order of a list's own drop: the outermost first.
        while !self.guards.is_empty() {
            drop(self.guards.remove(0));
        }
    }

    fn step(&mut self, operation: &Operation) {
        let place = |at: usize, of: usize| (of > 0).then(|| at % of);
        let here = self.guards.last().map_or(OUTSIDE, |&(scope, _)| scope);
        match *operation {
            Operation::Allocate(size) => {
                let block = self.heap.malloc(size);
                self.own(block, here);
            }
            Operation::AllocateAligned(log, size) => {
                let block = self.heap.try_malloc_aligned(1 << log, size);
                self.own(block, here);
            }
            Operation::Resize(at, size) => {
                let Some(at) = place(at, self.blocks.len()) else { return };
                let old = self.blocks.swap_remove(at);
                // SAFETY: a live block of this heap.
                let block = unsafe { self.heap.realloc(pointer(old), size) };
                assert!(!block.is_null());
                // SAFETY: a live block.
                let charged = unsafe { B::charged_size(block) } as u64;
                if block.addr() == old.address && charged == old.charged {
                    // Nothing changed, so the owner did not either; freed and allocated where it was asked for.
                    self.model.allocated(here, charged);
                    self.model.freed(here, charged);
                    self.blocks.push(old);
                } else {
                    self.model.freed(old.owner, old.charged);
                    self.own(block, here);
                }
            }
            Operation::Free(at) => {
                if let Some(at) = place(at, self.blocks.len()) {
                    let block = self.blocks.swap_remove(at);
                    self.free(block);
                }
            }
            Operation::Pass(at) => {
                if let Some(at) = place(at, self.blocks.len()) {
                    self.model.passed.lock().unwrap().push(self.blocks.swap_remove(at));
                }
            }
            Operation::FreePassed => self.free_passed(1),
            Operation::Enter(scope) => {
                let scopes = self.scopes;
                self.guards.push((scope, scopes[scope].enter()));
            }
            Operation::Leave(at) => {
                if let Some(at) = place(at, self.guards.len()) {
                    drop(self.guards.remove(at));
                }
            }
            Operation::Brief(parent, size) => {
                let number = self.model.brief();
                let brief = self.scopes[parent].child(format!("scope {number}"));
                let block = brief.run(|| self.heap.malloc(size));
                drop(brief);
                self.own(block, number);
            }
            Operation::Settle => zmalloc::scope::settle(),
        }
    }

    fn own(&mut self, block: *mut u8, owner: usize) {
        assert!(!block.is_null());
        // SAFETY: a live block; its charge is asked of the backend, not of the ledger.
        let charged = unsafe { B::charged_size(block) } as u64;
        self.model.allocated(owner, charged);
        self.blocks.push(Block { address: block.expose_provenance(), charged, owner });
    }

    fn free(&self, block: Block) {
        // SAFETY: a live block of this heap.
        unsafe { self.heap.free(pointer(block)) };
        self.model.freed(block.owner, block.charged);
    }

    fn free_passed(&self, count: usize) {
        for _ in 0..count {
            let block = self.model.passed.lock().unwrap().pop();
            let Some(block) = block else { return };
            self.free(block);
        }
    }
}

fn pointer(block: Block) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(block.address)
}

static HEAP: Zmalloc<Libc, ByOwner> = Zmalloc::new();

fn free(block: usize) {
    // SAFETY: a live block of this heap.
    unsafe { HEAP.free(std::ptr::with_exposed_provenance_mut(block)) };
}

fn block() -> usize {
    HEAP.malloc(100).expose_provenance()
}

fn thousands_of_scopes_end_with_their_blocks() {
    let top = Scope::new("top");
    let blocks: Vec<usize> = (0..5_000).map(|number| top.child(format!("{number}")).run(block)).collect();
    let shown = || (top.figures().children.len(), top.live_bytes() as usize);
    assert_eq!(shown(), (5_000, used_memory()));
    let (first, second) = blocks.split_at(2_500);
    first.iter().for_each(|&block| free(block));
    assert_eq!(shown(), (2_500, used_memory()));
    // Their children keep it, and theirs are the last.
    drop(top);
    thread::scope(|threads| {
        for part in second.chunks(625) {
            threads.spawn(move || part.iter().for_each(|&block| free(block)));
        }
    });
    assert!(snapshot().scopes.is_empty());
}

fn a_thread_that_ends_in_a_scope_leaves_its_blocks_there() {
    let scope = Scope::new("scope");
    let enter_and_stay = || {
        std::mem::forget(scope.enter());
        block()
    };
    let block = thread::scope(|threads| threads.spawn(enter_and_stay).join().unwrap());
    assert_eq!(scope.live_bytes() as usize, used_memory());
    free(block);
    assert_eq!(scope.live_bytes(), 0);
}

fn a_limit_is_one_of_what_is_owned() {
    let (tenant, other) = (Scope::new("tenant"), Scope::new("other"));
    tenant.set_limit_bytes_hard(Some(200));
    let poll = |blocks: Vec<usize>| {
        let mut future = std::pin::pin!(tenant.budgeted(async {
            other.run(|| blocks.into_iter().for_each(free));
            std::future::pending::<()>().await;
        }));
        future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    };
    let blocks = tenant.run(|| vec![block(), block(), block()]);
    assert!(tenant.live_bytes() > 200);
    assert!(poll(blocks).is_pending(), "freed elsewhere, and its own");
    let blocks = other.run(|| vec![block(), block(), block()]);
    assert!(tenant.run(|| poll(blocks)).is_pending(), "another's");
    let blocks = tenant.run(|| vec![block(), block(), block()]);
    assert!(poll(Vec::new()).is_ready(), "over its limit");
    blocks.into_iter().for_each(free);
    assert_eq!((tenant.live_bytes(), other.live_bytes()), (0, 0));
}

fn scopes_without_a_tag_count_the_flow() {
    let many: Vec<Scope> = (0..70_000).map(|_| Scope::new("one of many")).collect();
    let (tagged, last) = (&many[0], many.last().unwrap());
    let held = last.run(block);
    let charged = last.live_bytes();
    assert!(charged >= 100);
    tagged.run(|| free(held));
    assert_eq!((last.live_bytes(), tagged.live_bytes()), (charged, 0), "it goes on to show it");
    let outside = snapshot().outside.live_bytes;
    let held = tagged.run(block);
    last.run(|| free(held));
    assert_eq!((last.live_bytes(), tagged.live_bytes()), (charged, 0));
    assert_eq!(snapshot().outside.live_bytes, outside, "freed in it, and taken from whose it was");
    assert_eq!(used_memory(), 0);
    drop(many);
    assert!(snapshot().scopes.is_empty(), "who has no tag goes with its last handle");
}
