//! Reclaimers: who is asked before an allocation is refused, by whom, and how often; over every backend.
//!
//! The harness's own memory comes from std's `System` and is not counted. Limits and reclaimers are the process's, so that
//! one test goes through it all.

#[path = "common/child.rs"]
mod child;
#[path = "common/heap.rs"]
mod heap;

use child::{in_forked_child, until};
use heap::{Block, LIVE, MOST, Random};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use zmalloc::backend::Backend;
use zmalloc::budget::{MAX_RECLAIMERS, Reclaimer, TooManyReclaimers, reclaimer, set_limit_bytes_hard};
use zmalloc::used_memory;

const LIMIT: usize = 4 << 20;

#[test]
fn reclaimers_are_asked_before_a_refusal_over_every_backend() {
    sixty_four_are_the_most();
    over_every_backend!(scenario);
}

fn scenario<B: Backend>() {
    println!("{}", B::NAME);
    set_limit_bytes_hard(Some(LIMIT));
    the_cheapest_first_until_it_fits::<B>();
    a_reclaimer_is_refused_without_being_asked::<B>();
    many_threads_share_a_cache::<B>();
    dropped_while_it_is_asked::<B>();
    asked_in_a_child_though_busy_in_the_parent::<B>();
    set_limit_bytes_hard(None);
    assert_eq!(used_memory(), 0);
}

/// What can be let go of.
struct Cache<B: Backend>(Mutex<Vec<Block<B>>>);

impl<B: Backend> Cache<B> {
    fn new(blocks: usize, size: usize) -> Arc<Cache<B>> {
        Arc::new(Cache(Mutex::new((0..blocks).map(|_| Block::new(size).unwrap()).collect())))
    }

    fn shed(&self, missing: usize) -> usize {
        let Ok(mut blocks) = self.0.try_lock() else { return 0 };
        let mut freed = 0;
        while freed < missing {
            let Some(block) = blocks.pop() else { break };
            freed += block.charged;
        }
        freed
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

fn sixty_four_are_the_most() {
    let all: Vec<Reclaimer> = (0..MAX_RECLAIMERS).map(|cost| reclaimer(cost as u32, |_| 0).unwrap()).collect();
    assert_eq!(reclaimer(0, |_| 0).unwrap_err(), TooManyReclaimers);
    drop(all);
    drop(reclaimer(0, |_| 0).unwrap());
}

fn the_cheapest_first_until_it_fits<B: Backend>() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let reclaimers: Vec<_> = [30, 10, 20]
        .map(|cost| {
            let (asked, cache) = (Arc::clone(&asked), Cache::<B>::new(2, if cost == 20 { 512 } else { 256 } << 10));
            let shed = Arc::clone(&cache);
            let reclaimer = reclaimer(cost, move |missing| {
                asked.lock().unwrap().push(cost);
                shed.shed(missing)
            });
            (cost, cache, reclaimer.unwrap())
        })
        .into();
    let asked_for = |size: usize| {
        asked.lock().unwrap().clear();
        let block = Block::<B>::new(size);
        (block.is_some(), asked.lock().unwrap().clone(), block)
    };
    // Powers of two, which no backend rounds. They have half a MiB, one, and a half; another half is left, and for headers.
    set_limit_bytes_hard(Some(LIMIT + (64 << 10)));
    let most = [1 << 20, 512 << 10].map(Block::<B>::new);
    assert!(matches!(asked_for(256 << 10), (true, asked, _) if asked.is_empty()), "it fits");
    assert!(matches!(asked_for(1 << 20), (true, asked, _) if asked == [10]), "the cheapest is enough");
    assert!(matches!(asked_for(2 << 20), (true, asked, _) if asked == [10, 20]), "and has no more to give");
    drop(most);
    set_limit_bytes_hard(Some(LIMIT));
    assert!(matches!(asked_for(LIMIT + 1), (false, asked, _) if asked == [10, 20, 30]), "each is asked once");
    assert!(reclaimers.iter().all(|(_, cache, _)| cache.len() == 0));
    // A small one of a thread whose room is used up asks as well.
    let full: Vec<Block<B>> = std::iter::from_fn(|| Block::new(100)).collect();
    assert_eq!(asked_for(100).1, [10, 20, 30]);
    drop(full);
    drop(reclaimers);
    assert!(matches!(asked_for(LIMIT + 1), (false, asked, _) if asked.is_empty()), "nobody is left");
}

fn a_reclaimer_is_refused_without_being_asked<B: Backend>() {
    let (calls, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let cache = Cache::<B>::new(1, LIMIT / 2);
    let reclaimer = reclaimer(0, {
        let (calls, refused, cache) = (Arc::clone(&calls), Arc::clone(&refused), Arc::clone(&cache));
        move |missing| {
            calls.fetch_add(1, SeqCst);
            refused.fetch_add(usize::from(Block::<B>::new(LIMIT).is_none()), SeqCst);
            let freed = cache.shed(missing);
            // Now there is room for what it does itself.
            assert!(Block::<B>::new(1000).is_some());
            freed
        }
    });
    let others = Arc::clone(&calls);
    let dearer = zmalloc::budget::reclaimer(1, move |_| others.fetch_add(100, SeqCst));
    assert!(Block::<B>::new(LIMIT / 4 * 3).is_some());
    assert_eq!((calls.load(SeqCst), refused.load(SeqCst)), (1, 1));
    drop((reclaimer, dearer));
}

fn many_threads_share_a_cache<B: Backend>() {
    const THREADS: u64 = 8;
    MOST.store(0, SeqCst);
    let (cache, refused, shed) = (Cache::<B>::new(0, 1), AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let reclaimer = reclaimer(0, {
        let (cache, shed) = (Arc::clone(&cache), Arc::clone(&shed));
        move |missing| {
            let freed = cache.shed(missing);
            shed.fetch_add(freed, SeqCst);
            freed
        }
    });
    thread::scope(|threads| {
        for number in 0..THREADS {
            let (cache, refused) = (&cache, &refused);
            threads.spawn(move || {
                let mut random = Random::new(number);
                for _ in 0..1_500 {
                    let most = if random.below(8) == 0 { 60_000 } else { 6_000 };
                    let size = 1 + random.below(most);
                    // With the cache's lock held, so that reclaimers of other threads find it taken.
                    let mut held = (random.below(2) == 0).then(|| cache.0.lock().unwrap());
                    match Block::<B>::new(size) {
                        None => _ = refused.fetch_add(1, SeqCst),
                        Some(block) => match &mut held {
                            Some(blocks) => blocks.push(block),
                            None => cache.0.lock().unwrap().push(block),
                        },
                    }
                }
            });
        }
    });
    assert!(shed.load(SeqCst) > LIMIT, "the limit was never near");
    assert!(MOST.load(SeqCst) <= LIMIT, "{} live under a limit of {LIMIT}", MOST.load(SeqCst));
    assert_eq!(used_memory(), LIVE.load(SeqCst));
    drop(reclaimer);
    drop(cache);
    assert_eq!(used_memory(), 0);
}

/// Who drops a reclaimer waits for the call of it that another thread is making, and nobody calls it after.
fn dropped_while_it_is_asked<B: Backend>() {
    let (entered, leave) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (inside, dropped, owned) = (Arc::new(AtomicBool::new(false)), AtomicBool::new(false), Arc::new(()));
    let other = reclaimer(1, |_| 0);
    let slow = reclaimer(0, {
        let (entered, leave, inside) = (Arc::clone(&entered), Arc::clone(&leave), Arc::clone(&inside));
        let owned = Arc::clone(&owned);
        move |_| {
            inside.store(true, SeqCst);
            entered.wait();
            leave.wait();
            inside.store(false, SeqCst);
            drop(Arc::clone(&owned));
            0
        }
    });
    thread::scope(|threads| {
        threads.spawn(|| assert!(Block::<B>::new(LIMIT + 1).is_none()));
        entered.wait();
        threads.spawn(|| {
            drop(slow);
            assert!(!inside.load(SeqCst));
            dropped.store(true, SeqCst);
        });
        // Meanwhile others, which do not wait for ever, are refused or served.
        drop(other);
        assert!(Block::<B>::new(1000).is_some() && Block::<B>::new(LIMIT + 1).is_none());
        assert!(!dropped.load(SeqCst) && inside.load(SeqCst));
        leave.wait();
        until("dropped", || dropped.load(SeqCst));
        assert_eq!(Arc::strong_count(&owned), 1);
        assert!(Block::<B>::new(LIMIT + 1).is_none());
    });
}

/// A child does not wait for a thread of its parent that was within a reclaimer: it asks it, and may drop it.
fn asked_in_a_child_though_busy_in_the_parent<B: Backend>() {
    let (entered, leave) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (parent, calls) = (std::process::id(), Arc::new(AtomicUsize::new(0)));
    let reclaimer = reclaimer(0, {
        let (entered, leave, calls) = (Arc::clone(&entered), Arc::clone(&leave), Arc::clone(&calls));
        move |_| {
            calls.fetch_add(1, SeqCst);
            if std::process::id() == parent {
                entered.wait();
                leave.wait();
            }
            0
        }
    });
    let reclaimer = Mutex::new(Some(reclaimer.unwrap()));
    thread::scope(|threads| {
        threads.spawn(|| assert!(Block::<B>::new(LIMIT + 1).is_none()));
        entered.wait();
        in_forked_child(|| {
            assert!(Block::<B>::new(LIMIT + 1).is_none());
            assert_eq!(calls.load(SeqCst), 2);
            drop(reclaimer.lock().unwrap().take());
            assert!(Block::<B>::new(LIMIT + 1).is_none() && Block::<B>::new(LIMIT / 2).is_some());
            assert_eq!(calls.load(SeqCst), 2);
        });
        leave.wait();
    });
}
