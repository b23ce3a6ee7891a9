//! Futures and streams in scopes, under random programs on several threads, against a model that adds.

mod common;

use common::{Block, block};
use futures_core::Stream;
use proptest::collection::vec;
use proptest::prelude::*;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Waker};
use std::thread;
use zmalloc::Scope;
use zmalloc_scopes::{FutureScopeExt, StreamScopeExt};

/// What a task does in one poll.
#[derive(Clone, Debug)]
enum Step {
    Allocate(usize),
    /// The oldest it holds.
    Free,
    /// Allocates in another scope, which is left at once.
    Elsewhere(usize, usize),
    Panic,
}

#[derive(Clone, Debug)]
struct Task {
    scope: usize,
    kind: Kind,
    polls: Vec<Vec<Step>>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Future,
    Budgeted,
    Stream,
    BudgetedStream,
}

/// What is done to a task, by which thread.
#[derive(Clone, Copy, Debug)]
struct Turn {
    task: usize,
    thread: usize,
    /// In place of a poll.
    drops: bool,
}

const SCOPES: usize = 4;
const THREADS: usize = 3;
/// Scope 1 lies in scope 0, and so on.
const LIMIT: i64 = 12_000;

/// The steps of a task, and what it holds.
struct Work {
    polls: std::vec::IntoIter<Vec<Step>>,
    held: Vec<Block>,
    scopes: Vec<Scope>,
}

impl Work {
    /// Whether there was something to do.
    fn poll(&mut self) -> bool {
        let Some(steps) = self.polls.next() else { return false };
        for step in steps {
            match step {
                Step::Allocate(size) => self.held.push(block(size)),
                Step::Free => drop((!self.held.is_empty()).then(|| self.held.remove(0))),
                Step::Elsewhere(scope, size) => self.held.push(self.scopes[scope].run(|| block(size))),
                Step::Panic => std::panic::resume_unwind(Box::new(())),
            }
        }
        true
    }
}

impl Stream for Work {
    type Item = ();

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<()>> {
        if self.poll() { Poll::Pending } else { Poll::Ready(None) }
    }
}

/// True when it has ended.
type Polled = Box<dyn FnMut() -> bool + Send>;

fn start(task: &Task, scopes: &[Scope]) -> Polled {
    let scope = &scopes[task.scope];
    let mut work = Work { polls: task.polls.clone().into_iter(), held: Vec::new(), scopes: scopes.to_vec() };
    let future = |mut work: Work| poll_fn(move |_| if work.poll() { Poll::Pending } else { Poll::Ready(()) });
    fn context() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }
    work.held.reserve(100);
    match task.kind {
        Kind::Future => {
            let mut future = Box::pin(future(work).in_scope(scope));
            Box::new(move || future.as_mut().poll(&mut context()).is_ready())
        }
        Kind::Budgeted => {
            let mut future = Box::pin(future(work).in_budget(scope));
            Box::new(move || future.as_mut().poll(&mut context()).is_ready())
        }
        Kind::Stream => {
            let mut stream = Box::pin(work.in_scope(scope));
            Box::new(move || stream.as_mut().poll_next(&mut context()).is_ready())
        }
        Kind::BudgetedStream => {
            let mut stream = Box::pin(work.in_budget(scope));
            Box::new(move || stream.as_mut().poll_next(&mut context()).is_ready())
        }
    }
}

/// The model: what each scope itself allocated and freed, and what each task holds.
struct Model {
    sums: [(u64, u64); SCOPES],
    held: Vec<Vec<u64>>,
    next: Vec<usize>,
    ended: Vec<bool>,
}

impl Model {
    /// Live bytes of a scope and those within it.
    fn live(&self, scope: usize) -> i64 {
        self.sums[scope..].iter().map(|(allocated, freed)| *allocated as i64 - *freed as i64).sum()
    }

    fn end(&mut self, at: usize, task: &Task) {
        self.sums[task.scope].1 += std::mem::take(&mut self.held[at]).iter().sum::<u64>();
        self.ended[at] = true;
    }

    fn turn(&mut self, at: usize, task: &Task, drops: bool) {
        if self.ended[at] {
            return;
        }
        if drops {
            return self.end(at, task);
        }
        // Its own, or that of one around it.
        let over = |model: &Model| (0..=task.scope).any(|scope| model.live(scope) > LIMIT);
        if matches!(task.kind, Kind::BudgetedStream) && over(self) {
            return self.end(at, task);
        }
        let Some(steps) = task.polls.get(self.next[at]) else { return self.end(at, task) };
        self.next[at] += 1;
        for step in steps {
            match *step {
                Step::Allocate(size) => self.allocate(at, task.scope, size),
                Step::Elsewhere(scope, size) => self.allocate(at, scope, size),
                Step::Free if self.held[at].is_empty() => {}
                Step::Free => self.sums[task.scope].1 += self.held[at].remove(0),
                Step::Panic => return self.end(at, task),
            }
        }
        if matches!(task.kind, Kind::Budgeted | Kind::BudgetedStream) && over(self) {
            self.end(at, task);
        }
    }

    fn allocate(&mut self, at: usize, scope: usize, size: usize) {
        let charged = block(size).charged;
        self.sums[scope].0 += charged;
        self.held[at].push(charged);
    }
}

/// Takes a task, polls or drops it, and gives it back unless it is gone.
fn worker(jobs: Receiver<(Polled, bool)>, done: Sender<Option<Polled>>) {
    for (mut task, drops) in jobs {
        let ended = drops || std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut task)).unwrap_or(true);
        let task = (!ended).then_some(task);
        assert_eq!(Scope::current(), None);
        done.send(task).unwrap();
    }
}

fn step() -> impl Strategy<Value = Step> {
    let size = (1_usize..8).prop_map(|size| size * 700);
    prop_oneof![
        8 => size.clone().prop_map(Step::Allocate),
        5 => Just(Step::Free),
        3 => (0..SCOPES, size).prop_map(|(scope, size)| Step::Elsewhere(scope, size)),
        1 => Just(Step::Panic),
    ]
}

fn task() -> impl Strategy<Value = Task> {
    let kind = prop_oneof![Just(Kind::Future), Just(Kind::Budgeted), Just(Kind::Stream), Just(Kind::BudgetedStream)];
    (0..SCOPES, kind, vec(vec(step(), 0..4), 0..8)).prop_map(|(scope, kind, polls)| Task { scope, kind, polls })
}

fn turn() -> impl Strategy<Value = Turn> {
    (0_usize..6, 0..THREADS, prop::bool::weighted(0.03)).prop_map(|(task, thread, drops)| Turn { task, thread, drops })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn every_scope_has_what_its_tasks_did(tasks in vec(task(), 6), turns in vec(turn(), 0..80)) {
        let mut scopes = vec![Scope::new("0")];
        for number in 1..SCOPES {
            scopes.push(scopes[number - 1].child(number.to_string()));
        }
        scopes.iter().for_each(|scope| scope.set_limit_bytes_hard(Some(LIMIT as u64)));
        let mut model = Model {
            sums: [(0, 0); SCOPES],
            held: vec![Vec::new(); tasks.len()],
            next: vec![0; tasks.len()],
            ended: vec![false; tasks.len()],
        };
        let mut running: Vec<Option<Polled>> = tasks.iter().map(|task| Some(start(task, &scopes))).collect();
        thread::scope(|threads| {
            let (done, finished) = channel();
            let workers: Vec<Sender<_>> = (0..THREADS)
                .map(|_| {
                    let (sender, jobs) = channel();
                    let done = done.clone();
                    threads.spawn(move || worker(jobs, done));
                    sender
                })
                .collect();
            let last = (0..tasks.len()).map(|task| Turn { task, thread: task % THREADS, drops: true });
            for Turn { task, thread, drops } in turns.into_iter().chain(last) {
                let Some(polled) = running[task].take() else { continue };
                workers[thread].send((polled, drops)).unwrap();
                running[task] = finished.recv().unwrap();
                model.turn(task, &tasks[task], drops);
                assert_eq!(running[task].is_none(), model.ended[task], "{task} has ended");
                for (number, scope) in scopes.iter().enumerate() {
                    assert_eq!(common::flow(scope), model.sums[number], "scope {number}");
                    assert_eq!(scope.live_bytes(), model.live(number), "scope {number} and below");
                }
            }
        });
        assert_eq!(model.ended, [true; 6]);
    }
}
