//! Spans as scopes.

use std::pin::pin;
use std::sync::Barrier;
use std::task::{Context, Poll, Waker};
use std::thread;
use tracing::dispatcher::{self, Dispatch};
use tracing::{Level, info_span};
use tracing_subscriber::layer::SubscriberExt;
use zmalloc::backend::Libc;
use zmalloc::{Scope, Zmalloc};
use zmalloc_scopes::tracing::SpanScopes;

// The layer's own memory is counted too.
#[global_allocator]
static HEAP: Zmalloc<Libc> = Zmalloc::new();

fn subscriber(spans: &SpanScopes) -> Dispatch {
    Dispatch::new(tracing_subscriber::registry().with(spans.clone()))
}

fn current() -> Option<String> {
    Scope::current().map(|scope| scope.path())
}

fn path(path: &str) -> Option<String> {
    Some(path.to_owned())
}

#[test]
fn spans_of_one_path_are_one_scope() {
    let spans = SpanScopes::new();
    dispatcher::with_default(&subscriber(&spans), || {
        let mut kept = Vec::new();
        for _ in 0..3 {
            let request = info_span!("request").entered();
            assert_eq!(current(), path("request"));
            info_span!("render").in_scope(|| {
                assert_eq!(current(), path("request/render"));
                kept.push(vec![0_u8; 10_000]);
            });
            assert_eq!(current(), path("request"));
            drop(request);
            assert_eq!(current(), None);
        }
        info_span!("render").in_scope(|| assert_eq!(current(), path("render")));
        let render = spans.scope("request/render").unwrap().figures().own;
        assert!((30_000..31_000).contains(&render.live_bytes), "{render:?}");
        assert_eq!(render.entered, 3);
        assert_eq!(spans.scope("request").unwrap().figures().children.len(), 1);
    });
    assert_eq!(spans.scope("no such"), None);
}

#[test]
fn filter_fields_and_parent() {
    let service = Scope::new("service");
    let spans = SpanScopes::new()
        .with_filter(|metadata| *metadata.level() <= Level::INFO)
        .with_fields(&["tenant", "kind"])
        .within(&service);
    dispatcher::with_default(&subscriber(&spans), || {
        let request = info_span!("request", tenant = 42, other = 1, kind = "put").entered();
        assert_eq!(current(), path("service/request{tenant=42 kind=put}"));
        tracing::debug_span!("detail").in_scope(|| {
            assert_eq!(current(), path("service/request{tenant=42 kind=put}"));
            info_span!("inner").in_scope(|| assert_eq!(current(), path("service/request{tenant=42 kind=put}/inner")));
        });
        drop(request);
        info_span!(parent: None, "request", tenant = 7)
            .in_scope(|| assert_eq!(current(), path("service/request{tenant=7}")));
    });
    let names: Vec<_> = service.figures().children.into_iter().map(|child| child.name).collect();
    assert_eq!(names, ["request{tenant=42 kind=put}", "request{tenant=7}"]);
}

#[test]
fn entries_are_left_in_any_order_and_by_thread() {
    let spans = SpanScopes::new();
    let dispatch = subscriber(&spans);
    dispatcher::with_default(&dispatch, || {
        let (first, second) = (info_span!("first"), info_span!(parent: None, "second"));
        let guards = (first.enter(), second.enter(), second.enter());
        drop(guards.0);
        assert_eq!(current(), path("second"));
        drop(guards.1);
        assert_eq!(current(), path("second"), "entered twice");
        drop(guards.2);
        assert_eq!(current(), None);

        let meet = Barrier::new(2);
        thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| {
                    let guard = dispatcher::with_default(&dispatch, || first.enter());
                    meet.wait();
                    assert_eq!(current(), path("first"));
                    let kept = std::hint::black_box(vec![0_u8; 5000]);
                    meet.wait();
                    drop((kept, guard));
                    assert_eq!(current(), None);
                });
            }
        });
        let own = spans.scope("first").unwrap().figures().own;
        assert_eq!((own.entered, own.live_bytes), (3, 0));
        assert!(own.allocated_bytes >= 10_000);
    });
}

#[test]
fn subscribers_do_not_mix() {
    let (one, other) = (SpanScopes::new(), SpanScopes::new());
    let (of_one, of_other) = (subscriber(&one), subscriber(&other));
    let outer = dispatcher::with_default(&of_one, || info_span!("outer"));
    let inner = dispatcher::with_default(&of_other, || info_span!("inner"));
    let (outer, inner) = (outer.entered(), inner.entered());
    assert_eq!(current(), path("inner"));
    drop(outer);
    assert_eq!(current(), path("inner"));
    drop(inner);
    assert_eq!(current(), None);
    assert_eq!(one.scope("inner"), None);
}

#[test]
fn a_future_with_a_span_is_in_its_scope_at_each_poll_also_when_it_is_dropped() {
    use tracing::Instrument;

    let spans = SpanScopes::new();
    dispatcher::with_default(&subscriber(&spans), || {
        let mut future = Box::pin(
            async {
                let kept = vec![0_u8; 8000];
                std::future::pending::<()>().await;
                drop(kept);
            }
            .instrument(info_span!("task")),
        );
        for _ in 0..2 {
            assert_eq!(pin!(future.as_mut()).poll(&mut Context::from_waker(Waker::noop())), Poll::Pending);
            assert_eq!(current(), None);
        }
        let task = spans.scope("task").unwrap();
        assert!(task.live_bytes() >= 8000);
        drop(future);
        assert_eq!((task.live_bytes(), task.figures().own.entered), (0, 3));
    });
}

#[test]
fn a_panic_leaves_the_spans_it_goes_through() {
    let spans = SpanScopes::new();
    dispatcher::with_default(&subscriber(&spans), || {
        let unwound = std::panic::catch_unwind(|| {
            let _outer = info_span!("outer").entered();
            info_span!("inner").in_scope(|| std::panic::resume_unwind(Box::new(())))
        });
        assert!(unwound.is_err());
        assert_eq!(current(), None);
    });
}

#[test]
fn the_layers_own_memory_is_in_no_scope() {
    let spans = SpanScopes::new();
    dispatcher::with_default(&subscriber(&spans), || {
        let outer = info_span!("outer");
        let once = || info_span!("inner").in_scope(|| {});
        // The registry makes its pool of spans at the first ones, where the thread is then.
        outer.in_scope(once);
        let scopes = [spans.scope("outer").unwrap(), spans.scope("outer/inner").unwrap()];
        let before = scopes.each_ref().map(|scope| scope.figures().own.live_bytes);
        outer.in_scope(|| (0..100).for_each(|_| once()));
        assert_eq!(scopes.each_ref().map(|scope| scope.figures().own.live_bytes), before);
        assert_eq!(scopes[1].figures().own.allocated_bytes, 0);
    });
}
