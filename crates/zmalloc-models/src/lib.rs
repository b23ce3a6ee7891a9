//! Models of the ledger's pool and of the end of a scope: loom runs every interleaving, and every reordering that the atomics allow, of small
//! programs over the very files that the library is built from.
#![cfg(test)]
#![allow(
    dead_code,
    clippy::absurd_extreme_comparisons,
    reason = "a model uses a part of the files, and one size class"
)]

mod ledger;
mod scope;

use ledger::limit;
use ledger::peak;
use ledger::pool::Pool;
use ledger::slot::Slot;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::thread;
use scope::rest::Rest;

type Ledger = Arc<Pool<[Slot; 2]>>;

fn pool(ledger: &Ledger) -> &Pool {
    &**ledger
}

/// Runs every interleaving with at most three switches away from a thread that could go on: those that find mistakes.
fn model(program: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(program);
}

/// An allocation as a thread makes it: from its room, and at its end the cold path.
fn charge(pool: &Pool, slot: &Slot, bytes: usize) {
    if !slot.take(bytes) {
        let distance = peak::look(pool, slot);
        pool.with_lock(|pool| pool.top_up(slot, distance));
    }
}

/// Threads that claim, count and give back lose nothing, and never share a slot.
#[test]
fn slots_pass_from_thread_to_thread_with_their_sums() {
    model(|| {
        let ledger: Ledger = Arc::new(Pool::new());
        let work = |bytes: usize| {
            let ledger = Arc::clone(&ledger);
            move || {
                // Three threads, two slots: whoever finds none counts in the shared one.
                match pool(&ledger).claim(|_| true) {
                    Some(slot) => {
                        slot.take(bytes);
                        slot.grant(64);
                        assert!(slot.credit(bytes / 2));
                        pool(&ledger).release(slot);
                    }
                    None => {
                        pool(&ledger).shared().charge_shared(bytes);
                        pool(&ledger).shared().credit_shared(bytes / 2);
                    }
                }
            }
        };
        let threads = [thread::spawn(work(10)), thread::spawn(work(200))];
        work(3000)();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let totals = pool(&ledger).totals();
        assert_eq!((totals.allocated_bytes, totals.freed_bytes), (3210, 1605));
        assert_eq!(pool(&ledger).threads(), 0);
    });
}

/// A block allocated by one thread and freed by another is never seen freed but not allocated.
#[test]
fn a_reader_never_sees_a_free_before_its_allocation() {
    model(|| {
        let ledger: Ledger = Arc::new(Pool::new());
        let handed_over = Arc::new(AtomicBool::new(false));
        let owner = {
            let (ledger, handed_over) = (Arc::clone(&ledger), Arc::clone(&handed_over));
            thread::spawn(move || {
                let slot = pool(&ledger).claim(|_| true).unwrap();
                slot.grant(100);
                assert!(slot.take(48));
                handed_over.store(true, Ordering::Release);
            })
        };
        let other = {
            let ledger = Arc::clone(&ledger);
            thread::spawn(move || {
                if handed_over.load(Ordering::Acquire) {
                    let slot = pool(&ledger).claim(|_| true).unwrap();
                    assert!(slot.credit(48));
                }
            })
        };
        let totals = pool(&ledger).totals();
        assert!(totals.freed_bytes <= totals.allocated_bytes, "{totals:?}");
        owner.join().unwrap();
        other.join().unwrap();
    });
}

/// What a thread is granted is never taken for what it allocated.
#[test]
fn a_reader_never_sees_half_a_grant() {
    model(|| {
        let ledger: Ledger = Arc::new(Pool::new());
        let owner = {
            let ledger = Arc::clone(&ledger);
            thread::spawn(move || {
                let slot = pool(&ledger).claim(|_| true).unwrap();
                charge(pool(&ledger), slot, 40);
                charge(pool(&ledger), slot, 2);
            })
        };
        let seen = pool(&ledger).totals().allocated_bytes;
        assert!([0, 40, 42].contains(&seen), "{seen}");
        owner.join().unwrap();
        assert_eq!(pool(&ledger).totals().allocated_bytes, 42);
        assert!(pool(&ledger).peak().load(Ordering::Relaxed) >= 40);
    });
}

/// A backend's counters are read until their thread ends, and then no more, and count once all the while.
#[test]
fn a_backends_counters_are_folded_once() {
    model(|| {
        let ledger: Ledger = Arc::new(Pool::new());
        let gone = Arc::new(AtomicBool::new(false));
        let owner = {
            let (ledger, gone) = (Arc::clone(&ledger), Arc::clone(&gone));
            thread::spawn(move || {
                let counters = [AtomicU64::new(70), AtomicU64::new(0)];
                let slot = pool(&ledger).claim(|_| true).unwrap();
                // SAFETY: detached before the counters go.
                unsafe { pool(&ledger).attach_backend(slot, &counters[0], &counters[1], std::ptr::null()) };
                counters[1].store(30, Ordering::Relaxed);
                pool(&ledger).detach_backend(slot);
                // After the last reading the counters mean nothing any more.
                counters[0].store(u64::MAX, Ordering::Relaxed);
                gone.store(true, Ordering::Release);
                pool(&ledger).release(slot);
            })
        };
        let ended = gone.load(Ordering::Acquire);
        let totals = pool(&ledger).totals();
        assert!([0, 40, 70].contains(&totals.live_bytes()), "{totals:?}");
        if ended {
            assert_eq!(totals.live_bytes(), 40);
        }
        owner.join().unwrap();
        assert_eq!(pool(&ledger).totals().live_bytes(), 40);
    });
}

/// What lives, counted after it was allocated and before it is freed.
fn allocated_under(limit: u64, live: &AtomicU64, bytes: u64) {
    let now = live.fetch_add(bytes, Ordering::Relaxed) + bytes;
    assert!(now <= limit, "{now} live under {limit}");
}

/// An allocation under a limit, as a thread makes it; `asks` as long as it was given nothing ahead.
fn charge_under_limit(pool: &Pool, slot: &Slot, asks: &mut bool, bytes: u64) -> bool {
    if !*asks {
        if !slot.take(bytes as usize) {
            *asks = !pool.with_lock(|pool| pool.top_up(slot, 2 * bytes));
        }
        return true;
    }
    pool.with_lock(|pool| pool.charge_asked(slot, bytes))
}

/// However threads are given bytes ahead, take them, give them back and end: no more lives than the limit allows, and
/// what was given back is there for others.
#[test]
fn a_limit_holds_over_threads_that_come_and_go() {
    const BLOCK: u64 = 2000;
    /// Room for a thread with its margin and some blocks, not for two.
    const LIMIT: u64 = limit::MARGIN + 4 * BLOCK;
    model(|| {
        let ledger: Ledger = Arc::new(Pool::new());
        let live = Arc::new(AtomicU64::new(0));
        pool(&ledger).with_lock(|pool| pool.set_limit(LIMIT as usize, || {}));
        let work = |blocks: u64| {
            let (ledger, live) = (Arc::clone(&ledger), Arc::clone(&live));
            move || {
                let pool = pool(&ledger);
                let slot = pool.claim(|_| true).unwrap();
                let mut asks = !pool.with_lock(|pool| pool.equip(slot));
                let mut own = 0;
                for _ in 0..blocks {
                    if charge_under_limit(pool, slot, &mut asks, BLOCK) {
                        allocated_under(LIMIT, &live, BLOCK);
                        own += BLOCK;
                    }
                }
                live.fetch_sub(own, Ordering::Relaxed);
                assert!(slot.credit(own as usize));
                pool.detach_backend(slot);
                pool.release(slot);
            }
        };
        let other = thread::spawn(work(1));
        work(2)();
        other.join().unwrap();
        // Everything is free again: as much as there ever was.
        assert!(pool(&ledger).with_lock(|pool| pool.take_off(LIMIT)));
    });
}

/// The same where a backend counts, whose counters nobody orders: what may be allocated unasked is below the ceiling.
#[test]
fn a_limit_holds_over_a_backend_that_counts() {
    const BLOCK: u64 = 2000;
    const LIMIT: u64 = 2 * BLOCK;
    model(|| {
        let ledger: Ledger = Arc::new(Pool::new());
        let live = Arc::new(AtomicU64::new(0));
        pool(&ledger).with_lock(|pool| pool.set_limit(LIMIT as usize, || {}));
        let work = || {
            let (ledger, live) = (Arc::clone(&ledger), Arc::clone(&live));
            move || {
                let pool = pool(&ledger);
                let slot = pool.claim(|_| true).unwrap();
                let counters = [AtomicU64::new(0), AtomicU64::new(0)];
                // SAFETY: detached before the counters go.
                unsafe { pool.attach_backend(slot, &counters[0], &counters[1], std::ptr::null()) };
                if pool.with_lock(|pool| pool.raise_ceiling(slot, BLOCK)) {
                    counters[0].store(BLOCK, Ordering::Relaxed);
                    allocated_under(LIMIT, &live, BLOCK);
                    live.fetch_sub(BLOCK, Ordering::Relaxed);
                    counters[1].store(BLOCK, Ordering::Relaxed);
                }
                pool.with_lock(|pool| pool.trim_ceiling(slot));
                pool.detach_backend(slot);
                pool.release(slot);
            }
        };
        let other = thread::spawn(work());
        let large = pool(&ledger).with_lock(|pool| pool.take_off(BLOCK + 1));
        if large {
            allocated_under(LIMIT, &live, BLOCK + 1);
            live.fetch_sub(BLOCK + 1, Ordering::Relaxed);
            pool(&ledger).with_lock(|pool| pool.land(BLOCK + 1));
        }
        work()();
        other.join().unwrap();
        assert!(pool(&ledger).with_lock(|pool| pool.take_off(LIMIT)));
    });
}

/// Of the threads that give a scope's last blocks back and the one that lets go of it, one is told that nothing is left.
#[test]
fn a_scope_that_its_blocks_keep_ends_once() {
    model(|| {
        let rest = Arc::new(Rest::new());
        let ends = Arc::new(AtomicU64::new(0));
        let give_back = |bytes: u64| {
            let (rest, ends) = (Arc::clone(&rest), Arc::clone(&ends));
            move || {
                if rest.give_back(bytes) {
                    ends.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let threads = [thread::spawn(give_back(30)), thread::spawn(give_back(12))];
        if !rest.watch(42) {
            ends.fetch_add(1, Ordering::Relaxed);
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(ends.load(Ordering::Relaxed), 1);
        rest.stop_watching(42);
        assert_eq!((rest.take(), rest.given_back()), (42, 0));
    });
}
