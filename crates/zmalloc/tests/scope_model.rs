//! Scopes against a naive model: random programs on several threads, over every backend, each byte told where it counts.
//!
//! The harness's own memory comes from std's `System` and is not counted. One test per process: the tree is global.
#![cfg(target_has_atomic = "64")]

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::sync::Mutex;
use zmalloc::backend::{Backend, Libc};
use zmalloc::scope::{Flow, Guard, ScopeFigures, outside, snapshot};
use zmalloc::{Scope, Zmalloc};

#[test]
fn every_figure_is_that_of_the_model() {
    check::<Libc>();
    #[cfg(feature = "jemalloc")]
    check::<zmalloc::backend::Jemalloc>();
    #[cfg(feature = "mimalloc")]
    check::<zmalloc::backend::Mimalloc>();
    #[cfg(feature = "snmalloc")]
    check::<zmalloc::backend::Snmalloc>();
    drop_a_long_line_of_scopes();
}

/// One that keeps the next, each: they go without a recursion.
fn drop_a_long_line_of_scopes() {
    let mut scope = Scope::new("first");
    for _ in 0..100_000 {
        scope = scope.child("next");
    }
    drop(scope);
    assert!(snapshot().scopes.is_empty());
}

fn check<B: Backend>() {
    let programs = prop::collection::vec(prop::collection::vec(operation(), 0..60), 1..4);
    let mut runner = TestRunner::new(Config { cases: 150, failure_persistence: None, ..Config::default() });
    runner.run(&programs, |programs| play::<B>(&programs)).unwrap();
}

#[derive(Clone, Debug)]
enum Operation {
    Allocate(usize),
    Free(usize),
    /// Leaves a block to any thread.
    Pass(usize),
    /// Frees a block that was passed.
    FreePassed,
    Enter(usize),
    /// Drops a guard, any of them.
    Leave(usize),
    /// Enters, frees a block there, and panics.
    Panic(usize),
    /// Frees a block outside, wherever the thread is.
    FreeOutside(usize),
    Settle,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => (1..20_000usize).prop_map(Operation::Allocate),
        3 => any::<usize>().prop_map(Operation::Free),
        1 => any::<usize>().prop_map(Operation::Pass),
        2 => Just(Operation::FreePassed),
        4 => (0..PARENTS.len()).prop_map(Operation::Enter),
        3 => any::<usize>().prop_map(Operation::Leave),
        1 => (0..PARENTS.len()).prop_map(Operation::Panic),
        1 => any::<usize>().prop_map(Operation::FreeOutside),
        1 => Just(Operation::Settle),
    ]
}

/// The scopes of each case, each by the number of its parent.
const PARENTS: [Option<usize>; 6] = [None, Some(0), Some(0), Some(2), None, Some(4)];
const OUTSIDE: usize = PARENTS.len();

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Sums {
    allocated: u64,
    freed: u64,
    entered: u64,
}

#[derive(Default)]
struct Model {
    /// By scope, and `OUTSIDE`.
    own: Mutex<[Sums; PARENTS.len() + 1]>,
    /// Blocks passed on, and their charges.
    passed: Mutex<Vec<(usize, u64)>>,
}

fn play<B: Backend>(programs: &[Vec<Operation>]) -> Result<(), TestCaseError> {
    let before = snapshot();
    prop_assert!(before.scopes.is_empty(), "those of the last case are gone");
    let mut scopes: Vec<Scope> = Vec::new();
    for (number, parent) in PARENTS.iter().enumerate() {
        let name = format!("scope {number}");
        scopes.push(parent.map_or_else(|| Scope::new(name.clone()), |parent| scopes[parent].child(name.clone())));
    }
    let model = Model::default();
    std::thread::scope(|threads| {
        let running: Vec<_> =
            programs.iter().map(|program| threads.spawn(|| Player::<B>::new(&scopes, &model).run(program))).collect();
        // Joined one by one: the implicit join may come before a thread's slot is given back.
        running.into_iter().for_each(|thread| thread.join().unwrap());
    });
    Player::<B>::new(&scopes, &model).free_all_passed();

    let after = snapshot();
    let own = *model.own.lock().unwrap();
    let mut seen = 0;
    after.scopes.iter().try_for_each(|figures| compare(figures, &own, &mut seen).map(drop))?;
    prop_assert_eq!(seen, PARENTS.len());
    for (scope, top) in [(0, 0), (4, 1)] {
        prop_assert_eq!(scopes[scope].live_bytes(), after.scopes[top].total.live_bytes);
        prop_assert!(after.scopes[top].total.peak_live_bytes as i64 >= after.scopes[top].total.live_bytes);
    }
    let grown =
        |now: Flow, then: Flow| (now.allocated_bytes - then.allocated_bytes, now.freed_bytes - then.freed_bytes);
    prop_assert_eq!(grown(after.outside, before.outside), (own[OUTSIDE].allocated, own[OUTSIDE].freed));
    prop_assert_eq!(after.ended, before.ended);
    prop_assert_eq!(
        sum(&after.scopes, after.ended, after.outside),
        (after.totals.allocated_bytes, after.totals.freed_bytes)
    );

    // Children keep their parents, and all of it passes on when they go.
    scopes.swap(0, 5);
    scopes.truncate(4);
    prop_assert_eq!(snapshot().scopes.len(), 2);
    drop(scopes);
    let ended = snapshot();
    prop_assert!(ended.scopes.is_empty());
    let all = own[..OUTSIDE].iter().fold((0, 0), |all, sums| (all.0 + sums.allocated, all.1 + sums.freed));
    prop_assert_eq!(grown(ended.ended, before.ended), all);
    prop_assert_eq!(ended.outside, after.outside);
    Ok(())
}

/// Holds a scope's figures, and those of its children, against the model's.
fn compare(figures: &ScopeFigures, model: &[Sums], seen: &mut usize) -> Result<Sums, TestCaseError> {
    let number: usize = figures.name.strip_prefix("scope ").unwrap().parse().unwrap();
    *seen += 1;
    let sums = |figures: zmalloc::scope::Figures| Sums {
        allocated: figures.allocated_bytes,
        freed: figures.freed_bytes,
        entered: figures.entered,
    };
    prop_assert_eq!(sums(figures.own), model[number], "{}", &figures.path);
    let mut total = model[number];
    for child in &figures.children {
        let child = compare(child, model, seen)?;
        total.allocated += child.allocated;
        total.freed += child.freed;
        total.entered += child.entered;
    }
    prop_assert_eq!(sums(figures.total), total, "{} with its children", &figures.path);
    prop_assert_eq!(figures.total.live_bytes, total.allocated as i64 - total.freed as i64);
    Ok(total)
}

fn sum(scopes: &[ScopeFigures], ended: Flow, outside: Flow) -> (u64, u64) {
    let mut sum = (ended.allocated_bytes + outside.allocated_bytes, ended.freed_bytes + outside.freed_bytes);
    for scope in scopes {
        let below = self::sum(&scope.children, scope.ended, Flow::default());
        sum.0 += scope.own.allocated_bytes + below.0;
        sum.1 += scope.own.freed_bytes + below.1;
    }
    sum
}

/// A thread's part of a case.
struct Player<'case, B: Backend> {
    scopes: &'case [Scope],
    model: &'case Model,
    heap: Zmalloc<B>,
    blocks: Vec<(usize, u64)>,
    /// Innermost last.
    guards: Vec<(usize, Guard<'case>)>,
}

impl<'case, B: Backend> Player<'case, B> {
    fn new(scopes: &'case [Scope], model: &'case Model) -> Self {
        Player { scopes, model, heap: Zmalloc::new(), blocks: Vec::new(), guards: Vec::new() }
    }

    fn run(mut self, program: &[Operation]) {
        program.iter().for_each(|operation| self.step(operation));
        self.model.passed.lock().unwrap().append(&mut self.blocks);
        // In the order of a list's own drop: the outermost first.
        while !self.guards.is_empty() {
            self.leave(0);
        }
    }

    fn step(&mut self, operation: &Operation) {
        let place = |at: usize, of: usize| (of > 0).then(|| at % of);
        match *operation {
            Operation::Allocate(size) => {
                let block = self.heap.malloc(size);
                assert!(!block.is_null());
                // SAFETY: a live block; its charge is asked of the backend, not of the ledger.
                let charged = unsafe { B::charged_size(block) } as u64;
                self.count(|sums| sums.allocated += charged);
                self.blocks.push((block.expose_provenance(), charged));
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
            Operation::FreePassed => {
                let block = self.model.passed.lock().unwrap().pop();
                if let Some(block) = block {
                    self.free(block);
                }
            }
            Operation::Enter(scope) => {
                let scopes = self.scopes;
                self.guards.push((scope, scopes[scope].enter()));
            }
            Operation::Leave(at) => {
                if let Some(at) = place(at, self.guards.len()) {
                    self.leave(at);
                }
            }
            Operation::Panic(scope) => {
                let scopes = self.scopes;
                let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    scopes[scope].run(|| {
                        if let Some((block, charged)) = self.blocks.pop() {
                            // SAFETY: a live block of this heap.
                            unsafe { self.heap.free(std::ptr::with_exposed_provenance_mut(block)) };
                            self.model.own.lock().unwrap()[scope].freed += charged;
                        }
                        // Without a message.
                        std::panic::resume_unwind(Box::new(()));
                    });
                }));
                assert!(unwound.is_err());
                self.model.own.lock().unwrap()[scope].entered += 1;
            }
            Operation::FreeOutside(at) => {
                if let Some(at) = place(at, self.blocks.len()) {
                    let (block, charged) = self.blocks.swap_remove(at);
                    // SAFETY: a live block of this heap.
                    outside(|| unsafe { self.heap.free(std::ptr::with_exposed_provenance_mut(block)) });
                    self.model.own.lock().unwrap()[OUTSIDE].freed += charged;
                }
            }
            Operation::Settle => zmalloc::scope::settle(),
        }
        assert_eq!(Scope::current().as_ref(), self.guards.last().map(|&(scope, _)| &self.scopes[scope]));
    }

    fn leave(&mut self, at: usize) {
        let (scope, guard) = self.guards.remove(at);
        drop(guard);
        self.model.own.lock().unwrap()[scope].entered += 1;
    }

    fn free(&self, (block, charged): (usize, u64)) {
        // SAFETY: a live block of this heap.
        unsafe { self.heap.free(std::ptr::with_exposed_provenance_mut(block)) };
        self.count(|sums| sums.freed += charged);
    }

    fn free_all_passed(&self) {
        let blocks = std::mem::take(&mut *self.model.passed.lock().unwrap());
        blocks.into_iter().for_each(|block| self.free(block));
    }

    /// Counts where the thread is.
    fn count(&self, count: impl FnOnce(&mut Sums)) {
        let here = self.guards.last().map_or(OUTSIDE, |&(scope, _)| scope);
        count(&mut self.model.own.lock().unwrap()[here]);
    }
}
