//! Streams in scopes, fact by fact and to the byte.

mod common;

use common::{Block, block, flow, sums};
use futures_core::Stream;
use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::thread;
use zmalloc::Scope;
use zmalloc_scopes::{Held, StreamScopeExt};

/// What a stream does at a poll: allocates, and keeps it or gives it out.
#[derive(Clone, Copy)]
enum Step {
    Keep(usize),
    Give(usize),
    Panic,
}

struct Steps {
    steps: VecDeque<Step>,
    kept: Vec<Block>,
}

fn steps(steps: impl IntoIterator<Item = Step>) -> Steps {
    Steps { steps: steps.into_iter().collect(), kept: Vec::new() }
}

impl Stream for Steps {
    type Item = Block;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Block>> {
        match self.steps.pop_front() {
            None => Poll::Ready(None),
            Some(Step::Give(size)) => Poll::Ready(Some(block(size))),
            Some(Step::Panic) => std::panic::resume_unwind(Box::new(())),
            Some(Step::Keep(size)) => {
                self.kept.push(block(size));
                Poll::Pending
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.steps.len()))
    }
}

fn next<S: Stream + ?Sized>(stream: Pin<&mut S>) -> Poll<Option<S::Item>> {
    stream.poll_next(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_stream_counts_in_its_scope_on_every_thread_and_its_items_where_they_are_dropped() {
    let scope = Scope::new("scope");
    let stream = steps([Step::Keep(1000), Step::Give(2000), Step::Give(3000)]).in_scope(&scope);
    assert_eq!(stream.size_hint(), (0, Some(3)));
    let mut stream: Pin<Box<dyn Stream<Item = Block> + Send>> = Box::pin(stream);
    assert!(next(stream.as_mut()).is_pending());
    let (mut stream, first) = thread::spawn(move || {
        let Poll::Ready(Some(first)) = next(stream.as_mut()) else { panic!("an item") };
        (stream, first)
    })
    .join()
    .unwrap();
    let Poll::Ready(Some(second)) = next(stream.as_mut()) else { panic!("an item") };
    let kept = block(1000).charged;
    let items = first.charged + second.charged;
    drop(first);
    assert_eq!(sums(scope.figures().own), (kept + items, 0, 3));
    assert!(matches!(next(stream.as_mut()), Poll::Ready(None)));
    assert_eq!(sums(scope.figures().own), (kept + items, kept, 4), "dropped at its end");
    assert!(matches!(next(stream.as_mut()), Poll::Ready(None)));
    assert_eq!((stream.size_hint(), scope.figures().own.entered), ((0, Some(0)), 4));
    drop(Held::new(&scope, second));
    assert_eq!(flow(&scope), (kept + items, kept + block(3000).charged), "held, it goes back");
}

#[test]
fn a_stream_that_is_dropped_or_panics_is_freed_in_its_scope() {
    let scope = Scope::new("scope");
    let kept = block(1000).charged;
    let mut dropped = Box::pin(steps([Step::Keep(1000)]).in_scope(&scope));
    assert!(next(dropped.as_mut()).is_pending());
    thread::spawn(move || drop(dropped)).join().unwrap();
    assert_eq!(flow(&scope), (kept, kept));
    let mut panicking = Box::pin(steps([Step::Keep(1000), Step::Panic]).in_scope(&scope));
    assert!(next(panicking.as_mut()).is_pending());
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| next(panicking.as_mut())));
    assert!(unwound.is_err() && Scope::current().is_none());
    drop(panicking);
    assert_eq!(flow(&scope), (2 * kept, 2 * kept));
}

#[test]
fn a_stream_over_its_budget_ends_with_an_error_and_frees_what_it_held() {
    let scope = Scope::new("scope");
    scope.set_limit_bytes_hard(Some(5000));
    let mut stream = pin!(steps([Step::Keep(1000), Step::Keep(9000)]).in_budget(&scope));
    assert!(next(stream.as_mut()).is_pending());
    let Poll::Ready(Some(Err(error))) = next(stream.as_mut()) else { panic!("over its budget") };
    assert_eq!(error.live_bytes, (block(1000).charged + block(9000).charged) as i64);
    assert_eq!(scope.live_bytes(), 0);
    assert!(matches!(next(stream.as_mut()), Poll::Ready(None)));
}

#[test]
fn an_item_comes_before_the_error_unless_it_is_released() {
    let scope = Scope::new("scope");
    scope.set_limit_bytes_hard(Some(5000));
    let mut stream = pin!(steps([Step::Give(9000), Step::Give(9000), Step::Give(1)]).in_budget(&scope));
    assert_eq!(stream.size_hint(), (0, Some(4)));
    let Poll::Ready(Some(Ok(released))) = next(stream.as_mut()) else { panic!("an item") };
    scope.run(|| drop(released));
    let Poll::Ready(Some(Ok(kept))) = next(stream.as_mut()) else { panic!("an item") };
    assert!(matches!(next(stream.as_mut()), Poll::Ready(Some(Err(_)))), "before it takes more");
    assert_eq!(stream.size_hint(), (0, Some(0)));
    assert_eq!(scope.live_bytes(), kept.charged as i64);
    let mut refused = pin!(steps([Step::Give(1)]).in_budget(&scope));
    assert!(matches!(next(refused.as_mut()), Poll::Ready(Some(Err(_)))), "before it starts");
}
