//! An allocator beneath that fails the n-th call, for every n: after each failure the ledger equals a recount, and all of the
//! limit can be allocated again.
//!
//! The harness's own memory comes from std's `System` and is not counted.

#[path = "common/heap.rs"]
mod heap;

use heap::{Block, LIVE};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use zmalloc::backend::{PlainAllocator, SizePrefix};
use zmalloc::budget::{reclaimer, set_limit_bytes_hard};
use zmalloc::used_memory;

/// `System`, but for one call.
enum Failing {}

/// How many calls are left until one fails; none while it is 0.
static UNTIL: AtomicU64 = AtomicU64::new(0);

fn fails() -> bool {
    UNTIL.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) == Ok(1)
}

// SAFETY: `System` follows the rules, and a call that fails does nothing.
unsafe impl PlainAllocator for Failing {
    const NAME: &'static str = "failing";

    unsafe fn allocate(layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        if fails() { std::ptr::null_mut() } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn deallocate(block: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(block, layout) }
    }
}

type Beneath = SizePrefix<Failing>;

const LIMIT: usize = 4 << 20;

#[test]
fn whichever_call_fails_the_ledger_and_the_limit_are_whole() {
    for limit in [None, Some(LIMIT)] {
        set_limit_bytes_hard(limit);
        let mut failing = 1;
        while is_hit(failing) {
            assert_whole(limit, failing);
            failing += 1;
        }
        assert!(failing > 60, "{failing} calls are too few to mean anything");
        // One that helps: what failed is tried again.
        let _reclaimer = reclaimer(0, |_| 0).unwrap();
        (1..failing).for_each(|failing| {
            is_hit(failing);
            assert_whole(limit, failing);
        });
    }
    set_limit_bytes_hard(None);
}

/// Runs the program, whose n-th call fails; false if it makes fewer.
fn is_hit(failing: u64) -> bool {
    UNTIL.store(failing, SeqCst);
    program(failing);
    UNTIL.swap(0, SeqCst) == 0
}

/// Every call there is, of small sizes and large ones, each refusal taken as it comes.
fn program(failing: u64) {
    let mut held: Vec<Block<Beneath>> = Vec::new();
    for size in [24, 600, 17_000, 300_000] {
        held.extend(Block::new(size));
        check(failing);
        held.extend(Block::zeroed(size));
        check(failing);
        for alignment in [8, 64, 4096] {
            held.extend(Block::aligned(alignment, size));
            check(failing);
        }
        held.extend(Block::of(Block::<Beneath>::HEAP.try_strdup(c"some text").cast()));
        held.extend(Block::of(Block::<Beneath>::HEAP.try_calloc_array(3, size)));
        check(failing);
        for resized in [size * 2, size / 2, size] {
            held.iter_mut().for_each(|block| _ = block.resize(resized));
            check(failing);
        }
        held.extend(by_layout(Layout::from_size_align(size, 32).unwrap()));
        check(failing);
        moved(&mut held, size);
        check(failing);
        held.truncate(3);
    }
    // Waited for until it is gone, with what it was given.
    drop(std::thread::spawn(|| Block::<Beneath>::new(50_000)).join().unwrap());
    drop(held);
    check(failing);
}

/// Rust's shape, resized once; as a block of C's, which this heap frees by its address.
fn by_layout(layout: Layout) -> Option<Block<Beneath>> {
    let heap = Block::<Beneath>::HEAP;
    // SAFETY: a size above 0; a live block and its layout.
    unsafe {
        let block = heap.alloc_zeroed(layout);
        if block.is_null() {
            return None;
        }
        let larger = GlobalAlloc::realloc(&heap, block, layout, layout.size() * 3);
        Block::of(if larger.is_null() { block } else { larger })
    }
}

/// Copies each block to a new one, as one that moves blocks does.
fn moved(held: &mut Vec<Block<Beneath>>, size: usize) {
    for at in (0..held.len()).rev() {
        if let Some(copy) = Block::new(size) {
            held.push(copy);
            held.swap_remove(at);
        }
    }
}

fn check(failing: u64) {
    assert_eq!(used_memory(), LIVE.load(SeqCst), "call {failing} failed");
}

/// With nothing held: as much as the limit can be had, in large blocks and in small ones, and not more.
fn assert_whole(limit: Option<usize>, failing: u64) {
    check(failing);
    assert_eq!(used_memory(), 0, "call {failing} failed");
    let Some(limit) = limit else { return };
    for size in [1_000, 100_000] {
        let held: Vec<Block<Beneath>> = std::iter::from_fn(|| Block::new(size)).collect();
        let used = used_memory();
        assert!(used <= limit && used + held[0].charged > limit, "call {failing} failed: {used} of {limit}");
    }
}
