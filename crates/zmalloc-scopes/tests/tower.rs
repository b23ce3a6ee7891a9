//! Requests of services in scopes.

mod common;

use common::{block, flow, poll_once, yield_once};
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;
use zmalloc::Scope;
use zmalloc::scope::OverBudget;
use zmalloc_scopes::tower::{BudgetLayer, ScopeLayer};

/// Takes as many bytes as the request says before its future and in it, and never answers an odd request.
struct Taker;

impl Service<usize> for Taker {
    type Response = String;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<String, Infallible>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: usize) -> Self::Future {
        let before = block(request);
        Box::pin(async move {
            let (before, within) = (before, block(request));
            yield_once().await;
            if request % 2 == 1 {
                std::future::pending::<()>().await;
            }
            assert!(request != 4444, "as asked for");
            Ok(format!("{}", before.charged + within.charged))
        })
    }
}

fn scopes() -> (Scope, impl Fn(&usize) -> Option<Scope> + Clone) {
    let scope = Scope::new("scope");
    let large = scope.clone();
    (scope, move |request| (*request >= 1000).then(|| large.clone()))
}

#[test]
fn a_request_runs_in_the_scope_that_is_chosen_by_it() {
    let (scope, select) = scopes();
    let mut service = ScopeLayer::new(select).layer(Taker);
    let charged = 2 * block(2000).charged;
    let mut future = pin!(service.call(2000));
    assert_eq!(scope.live_bytes(), charged as i64 / 2, "what the call takes");
    assert!(poll_once(future.as_mut()).is_pending());
    assert_eq!(poll_once(future.as_mut()), Poll::Ready(Ok(charged.to_string())));
    assert_eq!(flow(&scope), (charged, charged));
    let mut small = pin!(service.call(10));
    assert!(poll_once(small.as_mut()).is_pending() && poll_once(small.as_mut()).is_ready());
    assert_eq!(flow(&scope), (charged, charged), "in no scope");
}

#[test]
fn requests_that_are_cancelled_or_panic_give_all_back() {
    let (scope, select) = scopes();
    let mut service = ScopeLayer::new(select).layer(Taker);
    let mut cancelled = Box::pin(service.call(1001));
    assert!(poll_once(cancelled.as_mut()).is_pending() && poll_once(cancelled.as_mut()).is_pending());
    assert_eq!(scope.live_bytes(), 2 * block(1001).charged as i64);
    std::thread::scope(|_| drop(cancelled));
    assert_eq!(scope.live_bytes(), 0);
    let mut panicking = Box::pin(service.call(4444));
    assert!(poll_once(panicking.as_mut()).is_pending());
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll_once(panicking.as_mut()))).is_err());
    drop(panicking);
    assert_eq!((scope.live_bytes(), Scope::current()), (0, None));
}

#[test]
fn over_its_limit_a_request_is_answered_before_or_while_it_runs() {
    let (scope, select) = scopes();
    scope.set_limit_bytes_hard(Some(10_000));
    let refuse = |over: OverBudget| {
        assert_eq!(Scope::current(), None);
        Ok(format!("{} bytes", over.live_bytes))
    };
    let mut service = BudgetLayer::new(select, refuse).layer(Taker);
    let large = 2 * block(6000).charged;
    let mut over = pin!(service.call(6000));
    assert_eq!(poll_once(over.as_mut()), Poll::Ready(Ok(format!("{large} bytes"))));
    assert_eq!(flow(&scope), (large, large));

    let mut running = pin!(service.call(3001));
    assert!(poll_once(running.as_mut()).is_pending());
    let kept = scope.run(|| block(8000));
    let live = kept.charged + 2 * block(3001).charged;
    let before = flow(&scope);
    assert_eq!(poll_once(pin!(service.call(1000))), Poll::Ready(Ok(format!("{live} bytes"))), "at once");
    assert_eq!(flow(&scope), before, "not given to the service");
    let mut free = pin!(service.call(10));
    assert!(poll_once(free.as_mut()).is_pending() && poll_once(free.as_mut()).is_ready(), "in no scope");
    assert_eq!(poll_once(running.as_mut()), Poll::Ready(Ok(format!("{live} bytes"))), "and one that was running");
    assert_eq!(scope.live_bytes(), kept.charged as i64);
    scope.run(|| drop(kept));
    let mut again = pin!(service.call(1000));
    assert!(poll_once(again.as_mut()).is_pending() && poll_once(again.as_mut()).is_ready());
}
