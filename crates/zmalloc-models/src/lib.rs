//! Models of the ledger's pool: loom runs every interleaving, and every reordering that the atomics allow, of small
//! programs over the very files that the library is built from.
#![cfg(test)]
#![allow(
    dead_code,
    clippy::absurd_extreme_comparisons,
    reason = "a model uses a part of the files, and one size class"
)]

mod ledger;

use ledger::peak;
use ledger::pool::Pool;
use ledger::slot::Slot;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::thread;

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
        let distance = peak::look(pool, slot, slot.live());
        pool.grant(slot, distance);
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
                unsafe { pool(&ledger).attach_backend(slot, &counters[0], &counters[1]) };
                counters[1].store(30, Ordering::Release);
                pool(&ledger).detach_backend(slot);
                // After the last reading the counters mean nothing any more.
                counters[0].store(u64::MAX, Ordering::Release);
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
