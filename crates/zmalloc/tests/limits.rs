//! Limits set, lowered and removed by many threads while others allocate: the account of what is left does not drift, so that
//! at rest exactly what is left is granted and not a byte more; after threads that came and went, and in forked children.
//!
//! The harness's own memory comes from std's `System` and is not counted. One test per process: limits are global.

#[path = "common/child.rs"]
mod child;
#[path = "common/heap.rs"]
mod heap;

use child::in_forked_child;
use heap::{Block, LIVE, Random, charge_of};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Barrier, Mutex};
use std::thread;
use zmalloc::backend::Backend;
use zmalloc::budget::{reclaimer, set_limit_bytes_hard, set_limit_bytes_soft};
use zmalloc::used_memory;

#[test]
fn what_is_left_is_granted_and_not_a_byte_more() {
    over_every_backend!(scenario);
}

fn scenario<B: Backend>() {
    println!("{}", B::NAME);
    exact_after_a_high_peak::<B>();
    what_stands_before_a_block_counts_in_a_resize::<B>();
    for seed in 0..2 {
        let shelf = Mutex::new(Vec::new());
        set_by_many_while_others_allocate::<B>(seed, &shelf);
        assert_exact::<B>("after all ended");
        churned_under_a_limit::<B>(seed, &shelf);
        assert_exact::<B>("after threads came and went");
        forked_while_others_wait::<B>(seed, &shelf);
        assert_exact::<B>("after forks");
        drop(shelf);
        assert_exact::<B>("with nothing left");
    }
    assert_eq!(used_memory(), 0);
}

/// Sets limits just above what is used, in the calling thread alone, from a limit that is armed already: nothing but the
/// account of it says what is left.
fn assert_exact<B: Backend>(when: &str) {
    // glibc's blocks of one size differ by what would be too little for another block; the stand-in for Apple's lies over it.
    let varies = if matches!(B::NAME, "libc" | "apple") { 16 } else { 0 };
    assert_eq!(used_memory(), LIVE.load(SeqCst), "{when}");
    for size in [100, 3_000, 20_000, 300_000] {
        let charge = charge_of::<B>(size);
        let limit = used_memory() + charge;
        set_limit_bytes_hard(Some(limit - 1));
        let too_much = Block::<B>::new(size).filter(|block| block.charged >= charge);
        assert!(too_much.is_none(), "{size} bytes are a byte too much, {when}");
        // With a small one, for which the thread is given more ahead than it takes.
        let limit = limit + charge_of::<B>(10) + 2 * varies;
        set_limit_bytes_hard(Some(limit));
        let small = Block::<B>::new(10);
        let block = Block::<B>::new(size);
        assert!(small.is_some() && block.is_some(), "{size} bytes are left, {when}");
        let more = Block::<B>::new(33 + varies);
        assert!(more.is_none(), "nothing is left, {when}");
        drop((block, small));
        // Small ones up to the limit: as many as fit.
        let blocks: Vec<_> = std::iter::from_fn(|| Block::<B>::new(100)).collect();
        let left = limit - used_memory();
        assert!(left < charge_of_last(&blocks) + varies, "{left} bytes are left, {when}");
        drop(blocks);
        set_limit_bytes_hard(Some(limit + (4 << 20)));
    }
    set_limit_bytes_hard(None);
}

fn charge_of_last<B: Backend>(blocks: &[Block<B>]) -> usize {
    blocks.last().expect("one fits").charged
}

/// Threads are given no more ahead where there is no limit yet than under one, however high the peak.
fn exact_after_a_high_peak<B: Backend>() {
    const LIMIT: usize = 1 << 20;
    let (ready, go) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|threads| {
        let other = threads.spawn(|| {
            // Not touched, so no pages.
            drop(Block::<B>::zeroed(1 << 30));
            drop(Block::<B>::new(100));
            ready.wait();
            go.wait();
        });
        ready.wait();
        set_limit_bytes_hard(Some(LIMIT));
        let granted = Block::<B>::new(LIMIT / 2).is_some();
        go.wait();
        join(vec![other]);
        assert!(granted, "refused by what another thread was given");
    });
    set_limit_bytes_hard(None);
    assert_exact::<B>("after a peak of a GiB");
}

/// More than could be used of the block is no resize to less, though less than it is charged with a header.
fn what_stands_before_a_block_counts_in_a_resize<B: Backend>() {
    let mut block = Block::<B>::aligned(4096, 1000).unwrap();
    let limit = used_memory();
    set_limit_bytes_hard(Some(limit));
    block.resize(3000);
    assert!(used_memory() <= limit);
    assert!(block.resize(10), "one to less is not refused");
    set_limit_bytes_hard(None);
}

/// A thread's random program, under whatever limit.
fn work<B: Backend>(random: &mut Random, shelf: &Mutex<Vec<Block<B>>>, steps: usize) -> usize {
    let (mut own, mut refused) = (Vec::new(), 0);
    for _ in 0..steps {
        let most = [600, 600, 600, 5_000, 60_000][random.below(5)];
        let size = 1 + random.below(most);
        let at = random.below(own.len().max(1));
        let granted = match random.below(8) {
            0 if !own.is_empty() => Block::<B>::resize(&mut own[at], size),
            1 if !own.is_empty() => {
                shelf.lock().unwrap().push(own.swap_remove(at));
                true
            }
            2 => {
                let other = shelf.lock().unwrap().pop();
                drop(other);
                true
            }
            3 | 4 if !own.is_empty() => {
                drop(own.swap_remove(at));
                true
            }
            5 => Block::aligned(1 << random.below(12), size).map(|block| own.push(block)).is_some(),
            _ => Block::new(size).map(|block| own.push(block)).is_some(),
        };
        refused += usize::from(!granted);
    }
    // The rest is left to others.
    shelf.lock().unwrap().extend(own);
    refused
}

fn set_by_many_while_others_allocate<B: Backend>(seed: u64, shelf: &Mutex<Vec<Block<B>>>) {
    const THREADS: u64 = 4;
    const SETS: usize = 40;
    let (setting, refused) = (AtomicUsize::new(THREADS as usize), AtomicUsize::new(0));
    thread::scope(|threads| {
        let (setting, refused) = (&setting, &refused);
        let mut all = Vec::new();
        for number in 0..THREADS {
            all.push(threads.spawn(move || {
                let mut random = Random::new(seed * 100 + number);
                while setting.load(SeqCst) > 0 {
                    refused.fetch_add(work(&mut random, shelf, 200), SeqCst);
                }
            }));
            all.push(threads.spawn(move || {
                let mut random = Random::new(seed * 100 + 50 + number);
                for _ in 0..SETS {
                    let about = LIVE.load(SeqCst) / 2 + random.below(2 << 20);
                    match random.below(6) {
                        0 => set_limit_bytes_hard(None),
                        1 => set_limit_bytes_soft(None),
                        2 => set_limit_bytes_soft(Some(about)),
                        // One that comes and goes has requests asked for, without a limit.
                        3 => drop(reclaimer(0, |_| 0)),
                        _ => set_limit_bytes_hard(Some(about)),
                    }
                    thread::yield_now();
                }
                setting.fetch_sub(1, SeqCst);
            }));
        }
        join(all);
    });
    assert!(refused.load(SeqCst) > 0, "no limit was ever near");
    // So that nothing finds the account anew but what is asked for below.
    set_limit_bytes_soft(None);
    set_limit_bytes_hard(Some(1 << 40));
}

/// Waits until threads are gone, with what they were given; that a scope ends does not say so.
fn join(threads: Vec<thread::ScopedJoinHandle<'_, ()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn churned_under_a_limit<B: Backend>(seed: u64, shelf: &Mutex<Vec<Block<B>>>) {
    set_limit_bytes_hard(Some(1 << 40));
    let mut random = Random::new(seed + 7);
    for _ in 0..20 {
        thread::scope(|threads| {
            let mut start = || {
                let mut random = Random::new(random.below(1 << 20) as u64);
                threads.spawn(move || _ = work(&mut random, shelf, 100))
            };
            join((0..4).map(|_| start()).collect());
        });
    }
}

fn forked_while_others_wait<B: Backend>(seed: u64, shelf: &Mutex<Vec<Block<B>>>) {
    set_limit_bytes_hard(Some(1 << 40));
    let (parked, go, stop) = (Barrier::new(5), Barrier::new(5), AtomicBool::new(false));
    thread::scope(|threads| {
        let start = |number| {
            let (parked, go, stop) = (&parked, &go, &stop);
            threads.spawn(move || {
                let mut random = Random::new(seed * 10 + number);
                while !stop.load(SeqCst) {
                    work(&mut random, shelf, 100);
                    parked.wait();
                    go.wait();
                }
            })
        };
        let all = (0..4).map(start).collect();
        for round in 0..3 {
            parked.wait();
            in_forked_child(|| {
                work(&mut Random::new(round), shelf, 300);
                assert_exact::<B>("in a child");
                churned_under_a_limit::<B>(seed, shelf);
                assert_exact::<B>("in a child whose threads ended");
            });
            stop.store(round == 2, SeqCst);
            go.wait();
        }
        join(all);
    });
}
