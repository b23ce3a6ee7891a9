//! Bounding the pages in RAM: a program that touches all that it gets stays below, is refused, frees and goes on.
//!
//! One test, since the figures belong to the whole process and others would move them.
#![cfg(target_os = "linux")]

#[path = "common/child.rs"]
mod child;
#[path = "common/heap.rs"]
mod heap;

use child::until;
use heap::Block;
use zmalloc::backend::{Backend, Libc};
use zmalloc::budget::{Level, NoCgroupLimit, Resident, level};
use zmalloc::process::{memory_size, resident_bytes};
use zmalloc::{Zmalloc, used_memory};

const MIB: usize = 1 << 20;
const SOFT: usize = 48 * MIB;
const HARD: usize = 80 * MIB;
/// What lies in half-used pages and runs of pages, and the kernel's counters lag.
const SLACK: usize = 8 * MIB;
const BLOCK: usize = 60_000;

#[test]
fn pages_in_ram_stay_below_the_bound() {
    a_cgroup_without_a_limit_is_an_error();
    // It replaces C's malloc, of which `Libc` knows no purge then.
    #[cfg(feature = "tcmalloc")]
    scenario::<zmalloc::backend::Tcmalloc>();
    // The one that purges whole arenas first: what glibc keeps is not for long.
    #[cfg(not(feature = "tcmalloc"))]
    {
        scenario::<zmalloc::DefaultBackend>();
        scenario::<Libc>();
    }
}

fn resident() -> usize {
    resident_bytes().unwrap()
}

fn scenario<B: Backend>() {
    println!("{}", B::NAME);
    let heap = Zmalloc::<B>::new();
    let base = resident();
    heap.bound_resident(Some(Resident::Bytes { soft: base + SOFT, hard: base + HARD })).unwrap();
    let (mut held, mut most, mut refusals) = (Vec::new(), 0, 0);
    // Four times what fits.
    for _ in 0..4 * HARD / BLOCK {
        match Block::<B>::new(BLOCK) {
            Some(block) => {
                block.touch(BLOCK);
                held.push(block);
            }
            None => {
                refusals += 1;
                until("the level rises with it", || level() >= Level::Low);
                let before = held.len();
                held.truncate(before / 2);
                until("room after half was freed", || Block::<B>::new(BLOCK).is_some());
            }
        }
        most = most.max(resident());
    }
    println!("  {refusals} refusals, {} MiB above the base at most", (most - base) / MIB);
    assert!(refusals > 0, "the bound was never near");
    assert!(most >= base + SOFT, "refused before anything was short");
    assert!(most <= base + HARD + SLACK, "{} above the bound", most - base - HARD);
    // What is freed goes back to the kernel, as far as is above the soft bound.
    drop(held);
    until("purged", || resident() <= base + SOFT && level() == Level::Normal);
    assert_eq!(used_memory(), 0);
    // A bound that is taken away refuses nothing.
    heap.bound_resident(Some(Resident::Bytes { soft: MIB, hard: 2 * MIB })).unwrap();
    assert!(Block::<B>::new(BLOCK).is_none(), "what is used already is more");
    heap.bound_resident(None).unwrap();
    assert!(Block::<B>::new(BLOCK).is_some());
    until("fallen", || level() == Level::Normal);
}

fn a_cgroup_without_a_limit_is_an_error() {
    let bound = Resident::Cgroup { soft: 0.8, hard: 0.9 };
    let expected = if memory_size().cgroup_limit.is_some() { Ok(()) } else { Err(NoCgroupLimit) };
    assert_eq!(Zmalloc::<Libc>::new().bound_resident(Some(bound)), expected);
    assert!(Block::<Libc>::new(BLOCK).is_some());
    Zmalloc::<Libc>::new().bound_resident(None).unwrap();
}
