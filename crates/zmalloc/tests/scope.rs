//! What scopes count, fact by fact and to the byte.
//!
//! Blocks come from heaps of ours; the harness's own memory, which is another's, is not counted.
#![cfg(target_has_atomic = "64")]

mod common;

use common::allocations_of;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, pending, poll_fn, ready};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use zmalloc::backend::{Backend, Libc};
use zmalloc::scope::{self, Figures, Flow, OverBudget};
use zmalloc::{DefaultBackend, Scope, Zmalloc};

/// A block, freed where it is dropped.
struct Block<B: Backend = DefaultBackend> {
    address: usize,
    charged: u64,
    heap: Zmalloc<B>,
}

impl<B: Backend> Block<B> {
    fn new(size: usize) -> Self {
        let heap = Zmalloc::new();
        let block = heap.malloc(size);
        assert!(!block.is_null());
        // SAFETY: a live block.
        let charged = unsafe { B::charged_size(block) } as u64;
        Block { address: block.expose_provenance(), charged, heap }
    }
}

impl<B: Backend> Drop for Block<B> {
    fn drop(&mut self) {
        // SAFETY: a live block, freed once.
        unsafe { self.heap.free(std::ptr::with_exposed_provenance_mut(self.address)) };
    }
}

fn block(size: usize) -> Block {
    Block::new(size)
}

/// Allocated, freed, and times entered.
fn sums(figures: Figures) -> (u64, u64, u64) {
    (figures.allocated_bytes, figures.freed_bytes, figures.entered)
}

fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Pending once, and ready the next time.
fn yield_once() -> impl Future<Output = ()> {
    let mut polled = false;
    poll_fn(move |_| if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending })
}

#[test]
fn to_enter_and_leave_allocates_nothing() {
    let scope = Scope::new("scope");
    let child = scope.child("child");
    scope.run(|| child.run(|| {}));
    assert_eq!(allocations_of(|| scope.run(|| (child.run(|| {}), scope::settle()))), 0);
    let mut future = pin!(child.budgeted(pending::<()>()));
    child.set_limit_bytes_hard(Some(1000));
    assert_eq!(allocations_of(|| poll_once(future.as_mut()).is_pending()), 0);
}

#[test]
fn an_allocation_counts_where_it_is_made_and_a_free_where_it_is_made() {
    let (maker, taker) = (Scope::new("maker"), Scope::new("taker"));
    let held = maker.run(|| block(5000));
    let charged = held.charged;
    taker.run(|| drop(held));
    assert_eq!(sums(maker.figures().own), (charged, 0, 1));
    assert_eq!(sums(taker.figures().own), (0, charged, 1));
    assert_eq!((maker.live_bytes(), taker.live_bytes()), (charged as i64, -(charged as i64)));
    taker.set_limit_bytes_hard(Some(0));
    let mut future = pin!(taker.budgeted(pending::<()>()));
    assert!(poll_once(future.as_mut()).is_pending(), "less than nothing is not over a limit");
}

#[test]
fn several_backends_count_in_one_scope() {
    let scope = Scope::new("scope");
    let (one, other) = scope.run(|| (block(100), Block::<Libc>::new(3000)));
    assert_eq!(sums(scope.figures().own), (one.charged + other.charged, 0, 1));
}

#[test]
fn a_peak_is_what_was_live_when_scopes_were_entered_or_left() {
    let parent = Scope::new("parent");
    let child = parent.child("child");
    let own = parent.run(|| block(1000));
    let largest = child.run(|| block(8000));
    let peak = own.charged + largest.charged;
    child.run(|| drop(largest));
    // Allocated and freed in one stay.
    child.run(|| drop(block(100_000)));
    let figures = parent.figures();
    assert_eq!(figures.own.peak_live_bytes, own.charged);
    assert_eq!(figures.total.peak_live_bytes, peak);
    assert_eq!(figures.children[0].own.peak_live_bytes, peak - own.charged);
    assert_eq!(figures.total.live_bytes, own.charged as i64);
}

#[test]
fn the_inner_scope_counts_and_the_outer_one_includes_it() {
    let outer = Scope::new("outer");
    let inner = outer.child("inner");
    let (first, second, third) = outer.run(|| (block(100), inner.run(|| block(2000)), block(300)));
    let figures = outer.figures();
    assert_eq!(sums(figures.own), (first.charged + third.charged, 0, 1));
    assert_eq!(sums(figures.total), (first.charged + second.charged + third.charged, 0, 2));
    assert_eq!(sums(figures.children[0].own), (second.charged, 0, 1));
    assert_eq!((figures.children[0].path.as_str(), inner.path()), ("outer/inner", "outer/inner".into()));
}

#[test]
fn guards_in_any_order_leave_the_thread_where_the_innermost_is() {
    thread::spawn(|| {
        let scopes: Vec<Scope> = (0..4).map(|number| Scope::new(format!("scope {number}"))).collect();
        let current = |expected: Option<usize>| {
            assert_eq!(Scope::current().as_ref(), expected.map(|number| &scopes[number]));
            drop(block(100 + expected.unwrap_or(9) * 1000));
        };
        let [first, second, third] = [0, 1, 2].map(|number| scopes[number].enter());
        current(Some(2));
        drop(second);
        current(Some(2));
        drop(first);
        let fourth = scopes[3].enter();
        current(Some(3));
        drop(third);
        current(Some(3));
        drop(fourth);
        current(None);
        for (number, scope) in scopes.iter().enumerate() {
            let figures = scope.figures().own;
            assert_eq!((figures.live_bytes, figures.entered), (0, 1), "{number}");
        }
        let charged = block(2100).charged;
        assert_eq!(scopes[2].figures().own.allocated_bytes, 2 * charged, "twice innermost");
        assert_eq!(scopes[1].figures().own.allocated_bytes, 0, "never when it allocated");
    })
    .join()
    .unwrap();
}

#[test]
fn a_forgotten_guard_leaves_the_thread_in_its_scope_while_there_is_one() {
    thread::spawn(|| {
        let scope = Scope::new("scope");
        std::mem::forget(scope.enter());
        let outer = block(500);
        assert_eq!(Scope::current(), Some(scope.clone()));
        assert_eq!(sums(scope.figures().own), (outer.charged, 0, 0));
        drop(scope);
        assert_eq!(Scope::current(), None);
        // Its place may be another's now: that gets none of this thread's bytes.
        let others: Vec<Scope> = (0..100).map(|_| Scope::new("other")).collect();
        let more = block(700);
        scope::settle();
        assert!(others.iter().all(|other| sums(other.figures().own) == (0, 0, 0)));
        others[0].run(|| drop(more));
        assert_eq!(others[0].figures().own.entered, 1);
        assert_eq!(Scope::current(), None);
    })
    .join()
    .unwrap();
}

#[test]
fn a_panic_leaves_the_scopes_it_goes_through() {
    let outer = Scope::new("outer");
    let inner = outer.child("inner");
    let charged = outer.run(|| {
        let unwound = std::panic::catch_unwind(|| {
            inner.run(|| {
                let held = block(4000);
                // Without a message.
                std::panic::resume_unwind(Box::new(held.charged));
            })
        });
        assert_eq!(Scope::current(), Some(outer.clone()));
        *unwound.unwrap_err().downcast::<u64>().unwrap()
    });
    assert_eq!(sums(inner.figures().own), (charged, charged, 1));
    assert_eq!(sums(outer.figures().own), (0, 0, 1));
}

#[test]
fn a_future_counts_in_its_scope_on_every_thread() {
    let scope = Scope::new("scope");
    let future = scope.scoped(async {
        let first = block(1000);
        yield_once().await;
        let second = block(9000);
        pending::<()>().await;
        drop((first, second));
    });
    let mut future: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(future);
    for _ in 0..3 {
        future = thread::spawn(move || {
            assert!(poll_once(future.as_mut()).is_pending());
            assert_eq!(Scope::current(), None);
            future
        })
        .join()
        .unwrap();
    }
    let both = block(1000).charged + block(9000).charged;
    assert_eq!(sums(scope.figures().own), (both, 0, 3));
    thread::spawn(move || drop(future)).join().unwrap();
    assert_eq!(sums(scope.figures().own), (both, both, 4));
}

#[test]
fn a_future_that_is_ready_or_panics_is_freed_in_its_scope() {
    let scope = Scope::new("scope");
    let mut done = pin!(scope.scoped(async {
        let held = block(1000);
        yield_once().await;
        held.charged
    }));
    assert!(poll_once(done.as_mut()).is_pending());
    let Poll::Ready(charged) = poll_once(done.as_mut()) else { panic!("ready") };
    assert_eq!(sums(scope.figures().own), (charged, charged, 2));
    let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll_once(done.as_mut())));
    assert!(again.is_err(), "not polled after it was ready");

    let panicking = Scope::new("panicking");
    let held = block(3000);
    let charged = held.charged;
    let mut future = Box::pin(panicking.scoped(async move {
        yield_once().await;
        let _held = held;
        std::panic::resume_unwind(Box::new(()));
    }));
    assert!(poll_once(future.as_mut()).is_pending());
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll_once(future.as_mut()))).is_err());
    assert_eq!(Scope::current(), None);
    drop(future);
    assert_eq!(panicking.figures().own.freed_bytes, charged);
}

#[test]
fn a_thread_inherits_the_scope_it_is_started_in() {
    let scope = Scope::new("scope");
    let held = scope.run(|| thread::spawn(scope::inherit(|| block(6000))).join().unwrap());
    assert_eq!(sums(scope.figures().own), (held.charged, 0, 2));
    assert_eq!(thread::spawn(scope::inherit(Scope::current)).join().unwrap(), None);
}

#[test]
fn a_scope_lasts_as_long_as_a_handle_or_a_child_and_passes_its_sums_on() {
    let root = Scope::new("root");
    let middle = root.child("middle");
    let leaf = middle.child("leaf");
    let (in_middle, in_leaf) = (middle.run(|| block(100)).charged, leaf.run(|| block(2000)).charged);
    drop(middle);
    assert_eq!(leaf.path(), "root/middle/leaf");
    let figures = root.figures();
    assert_eq!(figures.children[0].own.live_bytes, in_middle as i64);
    assert_eq!(figures.ended, Flow::default());
    let total = figures.total;
    drop(leaf);
    let figures = root.figures();
    assert!(figures.children.is_empty());
    assert_eq!(figures.ended.allocated_bytes, in_middle + in_leaf);
    assert_eq!(figures.total, total, "with their peak");
}

thread_local! {
    static AT_THREAD_EXIT: RefCell<Vec<InDestructor>> = const { RefCell::new(Vec::new()) };
}

struct InDestructor(Scope, Option<Block>);

impl Drop for InDestructor {
    fn drop(&mut self) {
        self.0.run(|| drop(self.1.take()));
    }
}

#[test]
fn destructors_at_the_end_of_a_thread_enter_scopes() {
    let scope = Scope::new("scope");
    let inside = scope.clone();
    let charged = thread::spawn(move || {
        let held = block(700);
        let charged = held.charged;
        AT_THREAD_EXIT.with_borrow_mut(|list| list.push(InDestructor(inside, Some(held))));
        charged
    })
    .join()
    .unwrap();
    assert_eq!(sums(scope.figures().own), (0, charged, 1));
}

/// After every Rust destructor, and after the thread gave its slot back.
#[test]
fn what_has_no_sums_of_its_own_counts_outside() {
    static SCOPE: Mutex<Option<Scope>> = Mutex::new(None);
    static KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();
    static ROUND: AtomicUsize = AtomicUsize::new(0);

    /// The C library calls the destructors in any order, and again those whose value was set meanwhile: in the second
    /// round the ledger's own has been called, whatever the order.
    extern "C" fn destroy(value: *mut libc::c_void) {
        if ROUND.fetch_add(1, Ordering::Relaxed) == 0 {
            // SAFETY: the key exists, and its value is only handed back to this function.
            assert_eq!(unsafe { libc::pthread_setspecific(KEY.get().copied().unwrap(), value) }, 0);
            return;
        }
        let scope = SCOPE.lock().unwrap().clone().unwrap();
        scope.run(|| drop(block(700)));
    }

    let scope = Scope::new("scope");
    *SCOPE.lock().unwrap() = Some(scope.clone());
    thread::spawn(|| {
        drop(block(1));
        let mut key = 0;
        // SAFETY: a writable key, a destructor of the right signature, and a value that only it gets.
        unsafe {
            assert_eq!(libc::pthread_key_create(&mut key, Some(destroy)), 0);
            KEY.set(key).unwrap();
            assert_eq!(libc::pthread_setspecific(key, std::ptr::from_ref(&SCOPE).cast()), 0);
        }
    })
    .join()
    .unwrap();
    assert_eq!(ROUND.load(Ordering::Relaxed), 2);
    let slots = !cfg!(any(feature = "ledger-lock", feature = "ledger-shared-atomic"));
    let charged = if slots { 0 } else { block(700).charged };
    assert_eq!(sums(scope.figures().own), (charged, charged, 1));
}

#[test]
fn a_forked_child_goes_on_in_its_scope() {
    // A child must not read the tree while another thread has its lock; reading without it is what `live_bytes` does.
    let scope = Scope::new("scope");
    let (held, child) = scope.run(|| {
        let held = block(3000);
        // SAFETY: the child uses what is safe between fork and exec on this C library.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            let more = block(20_000);
            let in_scope = scope.live_bytes() == (held.charged + more.charged) as i64;
            let charged = more.charged as i64;
            scope.run(|| drop(held));
            let freed = scope.live_bytes() == charged;
            // SAFETY: ends the child at once, without the harness's own end.
            unsafe { libc::_exit(i32::from(!(in_scope && freed))) };
        }
        (held, child)
    });
    let mut status = 0;
    // SAFETY: a child of this process, and a writable status.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "the child's figures");
    assert_eq!(sums(scope.figures().own), (held.charged, 0, 1));
}

#[test]
fn limits_are_set_read_and_removed() {
    let scope = Scope::new("scope");
    assert_eq!((scope.limit_bytes_soft(), scope.limit_bytes_hard()), (None, None));
    scope.set_limit_bytes_soft(Some(1000));
    scope.set_limit_bytes_hard(Some(2000));
    let figures = scope.figures();
    assert_eq!((figures.limit_bytes_soft, figures.limit_bytes_hard), (Some(1000), Some(2000)));
    assert!(!scope.is_over_limit_soft());
    let held = scope.run(|| block(1500));
    assert!(scope.is_over_limit_soft());
    scope.set_limit_bytes_soft(Some(held.charged));
    assert!(!scope.is_over_limit_soft(), "at the limit is not above it");
    scope.set_limit_bytes_soft(None);
    assert_eq!(scope.limit_bytes_soft(), None);
    assert!(!scope.is_over_limit_hard());
    scope.set_limit_bytes_hard(Some(held.charged - 1));
    assert!(scope.is_over_limit_hard() && !scope.is_over_limit_soft());
}

#[test]
fn a_handle_kept_as_an_address_is_a_handle() {
    let scope = Scope::new("scope");
    let raw = scope.clone().into_raw();
    scope.run(|| drop(block(100)));
    let entered = |scope: &Scope| scope.figures().own.entered;
    drop(scope);
    // SAFETY: the address of the clone, given back once.
    let scope = unsafe { Scope::from_raw(raw) };
    assert_eq!((scope.name().as_str(), entered(&scope)), ("scope", 1), "it was kept");
    assert_eq!(allocations_of(|| assert_eq!(scope.clone().into_raw(), raw)), 0);
    // SAFETY: the address of the clone that was just made, which is the same for all handles.
    drop(unsafe { Scope::from_raw(raw) });
    assert_eq!(entered(&scope), 1);
}

#[test]
fn a_future_over_its_budget_ends_with_the_figures_and_frees_what_it_held() {
    let tenant = Scope::new("tenant");
    let (upload, query, idle) = (tenant.child("upload"), tenant.child("query"), tenant.child("idle"));
    let kept = tenant.run(|| block(100));
    tenant.set_limit_bytes_hard(Some(10_000));
    let (in_upload, in_query) = (upload.clone(), query.clone());
    let mut future = pin!(tenant.budgeted(async move {
        let small = block(5000);
        yield_once().await;
        let uploaded = in_upload.run(|| block(40_000));
        let queried = in_query.run(|| block(3000));
        pending::<()>().await;
        drop((small, uploaded, queried));
    }));
    assert!(poll_once(future.as_mut()).is_pending());
    assert_eq!(tenant.live_bytes(), (kept.charged + block(5000).charged) as i64);
    let Poll::Ready(Err(error)) = poll_once(future.as_mut()) else { panic!("over its budget") };

    let [small, uploaded, queried] = [5000, 40_000, 3000].map(|size| block(size).charged as i64);
    assert_eq!(error.live_bytes, kept.charged as i64 + small + uploaded + queried);
    assert_eq!((error.path.as_str(), error.limit_bytes), ("tenant", 10_000));
    let children: Vec<_> = error.largest_children.iter().map(|child| (child.path.as_str(), child.live_bytes)).collect();
    assert_eq!(children, [("tenant/upload", uploaded), ("tenant/query", queried)]);
    let expected = format!(
        "scope tenant is over its budget: {} bytes live, hard limit 10000 bytes; largest children: tenant/upload \
         {uploaded} bytes, tenant/query {queried} bytes",
        error.live_bytes
    );
    assert_eq!((&error as &dyn std::error::Error).to_string(), expected);

    assert_eq!(tenant.live_bytes(), kept.charged as i64, "all that the future held is credited");
    // A free counts where it is made: in the scope of the future, not in those of its parts.
    let figures = tenant.figures();
    assert_eq!(sums(figures.own), (kept.charged + small as u64, (small + uploaded + queried) as u64, 4));
    assert_eq!(sums(idle.figures().own), (0, 0, 0));
    let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll_once(future.as_mut())));
    assert!(again.is_err(), "it has ended");
}

#[test]
fn a_ready_future_gives_what_it_made_and_a_lowered_limit_ends_others() {
    let scope = Scope::new("scope");
    scope.set_limit_bytes_hard(Some(0));
    let Poll::Ready(Ok(made)) = poll_once(pin!(scope.budgeted(async { block(1000) }))) else { panic!("ready") };
    scope.run(|| drop(made));
    scope.set_limit_bytes_hard(None);
    let mut future = pin!(scope.budgeted(async {
        let _held = block(1000);
        pending::<()>().await;
    }));
    assert!(poll_once(future.as_mut()).is_pending());
    scope.set_limit_bytes_hard(Some(999));
    assert!(matches!(poll_once(future.as_mut()), Poll::Ready(Err(_))));
    assert_eq!(scope.live_bytes(), 0);
    assert!(matches!(poll_once(pin!(scope.budgeted(ready(7)))), Poll::Ready(Ok(7))));
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Polls tasks on four threads until all are done, each task on whichever thread is next.
fn execute(tasks: Vec<Task>) {
    let (left, queue) = (AtomicUsize::new(tasks.len()), Mutex::new(VecDeque::from(tasks)));
    let lock = || -> MutexGuard<'_, _> { queue.lock().unwrap_or_else(PoisonError::into_inner) };
    let worker = || {
        while left.load(Ordering::SeqCst) > 0 {
            let Some(mut task): Option<Task> = lock().pop_front() else {
                thread::yield_now();
                continue;
            };
            match poll_once(task.as_mut()) {
                Poll::Ready(()) => _ = left.fetch_sub(1, Ordering::SeqCst),
                Poll::Pending => lock().push_back(task),
            }
        }
    };
    thread::scope(|threads| {
        let workers: Vec<_> = (0..4).map(|_| threads.spawn(worker)).collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}

#[test]
fn of_many_tenants_on_a_work_stealing_executor_only_the_flooding_one_ends() {
    static ENDED: Mutex<Vec<OverBudget>> = Mutex::new(Vec::new());
    const TENANTS: usize = 16;
    const ROUNDS: u64 = 50;
    let tenants = Scope::new("tenants");
    let scopes: Vec<Scope> = (0..TENANTS).map(|number| tenants.child(format!("tenant {number}"))).collect();
    let task = |number: usize| -> Task {
        scopes[number].set_limit_bytes_hard(Some(200_000));
        let future = scopes[number].budgeted(async move {
            let mut held = Vec::new();
            for round in 0..ROUNDS {
                held.push(block(10_000));
                if number != 3 && round % 5 == 4 {
                    held.clear();
                }
                yield_once().await;
            }
        });
        Box::pin(async move {
            if let Err(error) = future.await {
                ENDED.lock().unwrap().push(error);
            }
        })
    };
    execute((0..TENANTS).map(task).collect());
    let charged = block(10_000).charged;
    let ended = ENDED.lock().unwrap();
    let until = 200_000 / charged + 1;
    let [error] = &ended[..] else { panic!("one ended: {ended:?}") };
    assert_eq!((error.path.as_str(), error.live_bytes), ("tenants/tenant 3", (until * charged) as i64));
    for (number, scope) in scopes.iter().enumerate() {
        let rounds = if number == 3 { until } else { ROUNDS };
        let figures = scope.figures().own;
        assert_eq!((figures.allocated_bytes, figures.live_bytes), (rounds * charged, 0), "{number}");
        // A poll for each round, the one that is ready, or that which drops it.
        assert_eq!(figures.entered, rounds + 1, "{number}");
    }
    assert_eq!(tenants.live_bytes(), 0);
}

#[cfg(feature = "serde")]
#[test]
fn a_snapshot_serializes_under_the_names_of_its_fields() {
    let scope = Scope::new("serialized");
    let child = scope.child("child");
    let held = child.run(|| block(1000));
    let json = serde_json::to_value(scope::snapshot()).unwrap();
    let scopes = json["scopes"].as_array().unwrap();
    let scope = scopes.iter().find(|scope| scope["name"] == "serialized").unwrap();
    assert_eq!(scope["total"]["live_bytes"], held.charged);
    assert_eq!(scope["children"][0]["path"], "serialized/child");
    assert_eq!(scope["children"][0]["own"]["entered"], 1);
    assert!(json["outside"]["live_bytes"].is_i64() && json["totals"]["allocated_bytes"].is_u64());
}

#[test]
fn names_and_depths_without_end_can_be_shown() {
    let long = Scope::new("x".repeat(70_000));
    let nameless = Scope::new("");
    let below = nameless.child("b");
    let mut line = vec![Scope::new("line")];
    for _ in 0..10_000 {
        let next = line.last().unwrap().child("next");
        line.push(next);
    }
    assert_eq!(line.last().unwrap().path().matches('/').count(), 256);
    let shown = scope::snapshot();
    assert!(shown.to_string().contains(&long.path()));
    assert!(shown.to_open_metrics().ends_with("# EOF\n"));
    let of = |name: &str| shown.scopes.iter().find(|scope| &*scope.name == name).unwrap();
    assert_eq!((below.path(), &*of("").children[0].path), ("/b".into(), "/b"));
}

#[test]
fn outside_of_scopes_within_one() {
    let (scope, within) = (Scope::new("scope"), std::cell::Cell::new(0));
    let inside = scope.run(|| {
        let inside = block(1000);
        let outer = scope::outside(|| {
            assert_eq!(Scope::current(), None);
            assert_eq!(thread::spawn(scope::inherit(Scope::current)).join().unwrap(), None);
            let outer = block(20_000);
            scope.run(|| within.set(block(300).charged));
            outer
        });
        assert_eq!(Scope::current().as_ref(), Some(&scope));
        let unwound = std::panic::catch_unwind(|| scope::outside(|| std::panic::resume_unwind(Box::new(()))));
        assert!(unwound.is_err() && Scope::current().as_ref() == Some(&scope));
        // Left before what was entered within: the thread stays where it is, and then goes back.
        let mut guard = None;
        scope::outside(|| guard = Some(scope.enter()));
        assert_eq!(Scope::current().as_ref(), Some(&scope));
        drop(guard);
        assert_eq!(Scope::current().as_ref(), Some(&scope));
        scope::outside(|| drop(outer));
        inside
    });
    // Of that very block: glibc's of one size differ.
    let within = within.get();
    assert_eq!(sums(scope.figures().own), (inside.charged + within, within, 3));
}

#[test]
fn a_guard_keeps_the_handle_it_was_made_of() {
    let scope = Scope::new("scope");
    let entered = scope.clone().entered();
    assert_eq!((entered.scope(), Scope::current()), (&scope, Some(scope.clone())));
    let other = Scope::new("other").entered();
    assert_eq!(format!("{other:?}"), "Entered(other)");
    drop(entered);
    assert_eq!(Scope::current().map(|scope| scope.name()).as_deref(), Some("other"));
    drop(other);
    assert_eq!((Scope::current(), scope.figures().own.entered), (None, 1));
}

#[test]
fn what_is_no_future_can_look_at_the_limit_too() {
    let scope = Scope::new("scope");
    assert_eq!(scope.check_limit_hard(), Ok(()));
    let held = scope.child("child").run(|| block(5000));
    scope.set_limit_bytes_hard(Some(held.charged));
    assert_eq!(scope.check_limit_hard(), Ok(()), "at the limit is not above it");
    scope.set_limit_bytes_hard(Some(held.charged - 1));
    let error = scope.check_limit_hard().unwrap_err();
    assert_eq!((error.live_bytes, error.limit_bytes), (held.charged as i64, held.charged - 1));
    // What is within has no more than what is around it; what is beside it is asked the same.
    let within = scope.child("beside").child("within");
    within.set_limit_bytes_hard(Some(1 << 20));
    assert_eq!(within.check_limit_hard(), Err(error));
    scope.set_limit_bytes_hard(None);
    assert_eq!(within.check_limit_hard(), Ok(()));
}

#[cfg(feature = "serde")]
#[test]
fn a_report_with_scopes_has_one_key_more() {
    let scope = Scope::new("in a report");
    scope.set_limit_bytes_hard(Some(0));
    let held = scope.run(|| block(1000));
    let report = zmalloc::Report::now().with_scopes();
    let mut json = serde_json::to_value(&report).unwrap();
    let scopes = json.as_object_mut().unwrap().remove("scopes").unwrap();
    assert_eq!(json, serde_json::to_value(&report.report).unwrap());
    assert_eq!(scopes, serde_json::to_value(&report.scopes).unwrap());
    let of_name =
        |list: &serde_json::Value| list.as_array().unwrap().iter().any(|scope| scope["name"] == "in a report");
    assert!(of_name(&scopes["scopes"]));
    let error = serde_json::to_value(scope.check_limit_hard().unwrap_err()).unwrap();
    let expected = serde_json::json!({
        "path": "in a report", "limit_bytes": 0, "live_bytes": held.charged, "largest_children": [],
    });
    assert_eq!(error, expected);
}

#[test]
fn a_report_with_scopes_is_both_texts() {
    let scope = Scope::new("shown");
    let report = zmalloc::Report::now().with_scopes();
    assert_eq!(report.to_string(), format!("{}\n{}", report.report, report.scopes));
    let text = report.to_open_metrics();
    assert_eq!(text.matches("# EOF\n").count(), 1);
    let [first, second] = [report.report.to_open_metrics(), report.scopes.to_open_metrics()];
    assert_eq!(text, first.strip_suffix("# EOF\n").unwrap().to_owned() + &second);
    assert!(text.contains("zmalloc_scope_entered_total{scope=\"shown\"} 0\n"));
    drop(scope);
}
