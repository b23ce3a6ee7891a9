//! Limits that are set late, lowered, and met by one thread alone: exact where nobody else has anything to say.
//!
//! The harness's own memory comes from std's `System` and is not counted. The limit is global, so one test at a time.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use zmalloc::backend::{Backend, Libc};
use zmalloc::budget::{self, Resident, set_limit_bytes_hard};
use zmalloc::ledger::TotalsOnly;
use zmalloc::{Scope, Zmalloc, scope, used_memory};

/// Alone, and without a limit after.
struct Alone(#[expect(dead_code, reason = "held")] MutexGuard<'static, ()>);

fn alone() -> Alone {
    static ALONE: Mutex<()> = Mutex::new(());
    Alone(ALONE.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Drop for Alone {
    fn drop(&mut self) {
        set_limit_bytes_hard(None);
    }
}

/// Allocates and never frees; whether it was granted.
fn take<B: Backend>(size: usize) -> bool {
    !Zmalloc::<B, TotalsOnly>::new().try_malloc(size).is_null()
}

fn over_each(test: fn(&dyn Fn(usize) -> bool)) {
    let _alone = alone();
    test(&take::<Libc>);
    #[cfg(feature = "jemalloc")]
    test(&take::<zmalloc::backend::Jemalloc>);
    #[cfg(feature = "mimalloc")]
    test(&take::<zmalloc::backend::Mimalloc>);
}

#[test]
fn one_thread_is_refused_the_first_byte_too_many_under_a_limit_that_is_lowered() {
    over_each(|take| {
        set_limit_bytes_hard(Some(1 << 40));
        assert!((0..60).all(|_| take(1000)));
        let limit = used_memory() + 100;
        set_limit_bytes_hard(Some(limit));
        while take(1000) {}
        assert!(used_memory() <= limit, "{} of {limit}", used_memory());
        set_limit_bytes_hard(None);
    });
}

#[test]
fn what_a_thread_was_given_before_there_was_a_limit_is_not_used_under_it() {
    over_each(|take| {
        assert!((0..100).all(|_| take(1 << 20)) && (0..1000).all(|_| take(1000)));
        let limit = used_memory() + 100;
        set_limit_bytes_hard(Some(limit));
        while take(1000) {}
        assert!(used_memory() <= limit, "{} of {limit}", used_memory());
        set_limit_bytes_hard(None);
    });
}

#[test]
fn a_block_that_was_resized_past_the_ceiling_is_known_once() {
    fn scenario<B: Backend>() {
        let heap = Zmalloc::<B, TotalsOnly>::new();
        let _alone = alone();
        assert!(take::<B>(100));
        set_limit_bytes_hard(Some(used_memory() + (150 << 20)));
        let block = heap.try_malloc(100 << 20);
        assert!(!block.is_null());
        // SAFETY: a live block.
        let block = unsafe { heap.try_realloc(block, 80 << 20) };
        // Some allocators keep the block as large as it is: then less is left.
        let left = budget::limit_bytes_hard().unwrap() - used_memory();
        assert!(!block.is_null() && [100, 1000, 10_000, 1 << 20, left - (4 << 20)].into_iter().all(take::<B>));
        // SAFETY: a live block.
        unsafe { heap.free(block) };
    }
    scenario::<Libc>();
    #[cfg(feature = "jemalloc")]
    scenario::<zmalloc::backend::Jemalloc>();
}

#[test]
fn idle_threads_keep_64_kib_from_others_at_most() {
    const THREADS: usize = 16;
    over_each(|take| {
        for before in [true, false] {
            let (parked, go) = (Barrier::new(THREADS + 1), Barrier::new(THREADS + 1));
            let limit = used_memory() + (32 << 20);
            if before {
                set_limit_bytes_hard(Some(limit));
            }
            thread::scope(|threads| {
                for _ in 0..THREADS {
                    threads.spawn(|| {
                        // Over one allocator is enough: what a thread is given does not depend on it.
                        assert!((0..300).all(|_| super_take(600)));
                        parked.wait();
                        go.wait();
                    });
                }
                parked.wait();
                set_limit_bytes_hard(Some(limit));
                while take(1000) {}
                let early = limit - used_memory();
                assert!(early <= (THREADS << 16) + 2000, "{} bytes each", early / THREADS);
                go.wait();
            });
            set_limit_bytes_hard(None);
        }
    });

    fn super_take(size: usize) -> bool {
        take::<zmalloc::DefaultBackend>(size)
    }
}

#[test]
fn a_bound_that_is_removed_while_it_is_looked_at_is_gone() {
    static IN: AtomicBool = AtomicBool::new(false);
    static GO: AtomicBool = AtomicBool::new(false);
    let _alone = alone();
    let heap: Zmalloc<Libc> = Zmalloc::new();
    assert!(take::<Libc>(1000));
    let here = thread::current().id();
    let reclaimer = budget::reclaimer(1, move |_| {
        if thread::current().id() != here {
            IN.store(true, SeqCst);
            while !GO.load(SeqCst) {
                thread::sleep(Duration::from_millis(1));
            }
        }
        0
    });
    heap.bound_resident(Some(Resident::Bytes { soft: 1000, hard: 4096 })).unwrap();
    while !IN.load(SeqCst) {
        thread::yield_now();
    }
    heap.bound_resident(None).unwrap();
    GO.store(true, SeqCst);
    // The look goes on, and leaves nothing.
    for _ in 0..30 {
        assert!(take::<Libc>(1 << 20));
        thread::sleep(Duration::from_millis(10));
    }
    drop(reclaimer);
}

#[test]
fn a_scope_counts_what_is_asked_for() {
    let _alone = alone();
    let tenant = Scope::new("tenant");
    tenant.set_limit_bytes_hard(Some(100_000));
    let blocks = tenant.run(|| scope::fallible(|| (0..10_000).take_while(|_| take::<Libc>(1000)).count()));
    assert!((90..=100).contains(&blocks), "{blocks}");
}
