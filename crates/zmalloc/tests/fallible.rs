//! `scope::fallible`: within it a scope's hard limit, and those of the scopes around it, refuse allocations; over every backend.
#![cfg(target_has_atomic = "64")]

#[path = "common/heap.rs"]
mod heap;

use heap::Block;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use zmalloc::backend::Backend;
use zmalloc::budget::set_limit_bytes_hard;
use zmalloc::scope::fallible;
use zmalloc::{Scope, used_memory};

const LIMIT: usize = 1 << 20;
const HALF: usize = LIMIT / 2;

#[test]
fn scopes_refuse_in_fallible_sections_over_every_backend() {
    over_every_backend!(scenario);
}

fn scenario<B: Backend>() {
    println!("{}", B::NAME);
    // Alone, and together with a limit of the process's that is never near.
    for limit in [None, Some(1 << 30)] {
        set_limit_bytes_hard(limit);
        refuses_in_the_section_alone::<B>();
        refuses_to_the_byte::<B>();
        refuses_for_scopes_around::<B>();
        refuses_within_sections_and_after_panics::<B>();
        refuses_what_others_fill::<B>();
        assert_eq!(used_memory(), 0);
    }
    set_limit_bytes_hard(None);
}

fn tenant() -> Scope {
    let tenant = Scope::new("tenant");
    tenant.set_limit_bytes_hard(Some(LIMIT as u64));
    tenant
}

fn refuses_in_the_section_alone<B: Backend>() {
    let tenant = tenant();
    tenant.run(|| {
        for _ in 0..2 {
            let mut block = fallible(|| {
                assert!(Block::<B>::new(LIMIT + 1).is_none());
                assert!(Block::<B>::zeroed(LIMIT + 1).is_none());
                assert!(Block::<B>::aligned(64, LIMIT + 1).is_none());
                Block::<B>::new(HALF).unwrap()
            });
            assert!(fallible(|| !block.resize(LIMIT * 2) && block.resize(HALF / 2)));
            // Everywhere else scopes refuse nothing.
            assert!(block.resize(LIMIT * 2) && Block::<B>::new(LIMIT + 1).is_some());
            // What shrinks is not refused.
            assert!(fallible(|| block.resize(1000)));
        }
    });
    assert!(fallible(|| Block::<B>::new(LIMIT + 1)).is_some(), "outside of the scope nothing is refused");
    assert_eq!(tenant.live_bytes(), 0);
}

fn refuses_to_the_byte<B: Backend>() {
    // Small ones and large ones go by different ways.
    for size in [100, 3000, 20_000] {
        let tenant = tenant();
        let blocks: Vec<Block<B>> = tenant.run(|| fallible(|| std::iter::from_fn(|| Block::new(size)).collect()));
        let (live, charged) = (tenant.live_bytes() as usize, blocks[0].charged);
        assert_eq!(live, blocks.iter().map(|block| block.charged).sum::<usize>());
        assert!(live <= LIMIT && live + charged > LIMIT, "{live} of {LIMIT} with blocks of {charged}");
        tenant.run(|| drop(blocks));
        assert_eq!(tenant.live_bytes(), 0);
    }
}

fn refuses_for_scopes_around<B: Backend>() {
    let tenant = tenant();
    let request = tenant.child("request").child("upload");
    request.run(|| {
        let held = fallible(|| Block::<B>::new(HALF)).unwrap();
        assert!(fallible(|| Block::<B>::new(LIMIT - HALF + 1)).is_none());
        drop(held);
        assert!(fallible(|| Block::<B>::new(LIMIT - HALF + 1)).is_some());
    });
    // The thread may be in a scope beside, which has no limit.
    Scope::new("beside").run(|| assert!(fallible(|| Block::<B>::new(LIMIT + 1)).is_some()));
}

fn refuses_within_sections_and_after_panics<B: Backend>() {
    let is_refused = || Block::<B>::new(LIMIT + 1).is_none();
    tenant().run(|| {
        fallible(|| {
            assert!(fallible(is_refused));
            assert!(is_refused(), "the outer section goes on when the inner one ends");
            let panicked = catch_unwind(|| fallible(|| std::panic::resume_unwind(Box::new(()))));
            assert!(panicked.is_err());
            assert!(is_refused(), "also by a panic");
        });
        assert!(!is_refused());
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            fallible(|| {
                let _held = Block::<B>::new(1000);
                std::panic::resume_unwind(Box::new(()))
            })
        }));
        assert!(panicked.is_err());
        assert!(!is_refused(), "a panic ends the section");
    });
}

/// What another thread did in the scope counts as soon as it has left it, and only where a thread is in a section.
fn refuses_what_others_fill<B: Backend>() {
    let (tenant, shelf) = (tenant(), Mutex::new(Vec::new()));
    std::thread::scope(|threads| {
        let filled = threads.spawn(|| {
            let blocks = tenant.run(|| [Block::<B>::new(HALF), Block::<B>::new(HALF)]);
            shelf.lock().unwrap().extend(blocks);
        });
        filled.join().unwrap();
        tenant.run(|| assert!(fallible(|| Block::<B>::new(100)).is_none()));
        threads.spawn(|| tenant.run(|| assert!(Block::<B>::new(LIMIT).is_some())));
    });
    drop(shelf);
}
