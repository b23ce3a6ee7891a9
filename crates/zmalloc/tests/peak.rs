//! The peak keeps its stated bound: never above what really lived, and below it by few steps for each thread.
//!
//! One test in this process: the peak is global and only rises. Nobody asks for it before the end of a phase, since
//! asking takes a look.

use std::sync::{Arc, Barrier};
use std::thread;
use zmalloc::backend::{Backend, Libc, PlainLibc, SizePrefix};
use zmalloc::ledger::TotalsOnly;
use zmalloc::{Zmalloc, peak_memory, used_memory};

const STEP: usize = 64 << 10;
/// As `peak_memory` says: 5, and over a backend that counts by itself 4 more.
const STEPS: usize = 9;

#[test]
fn the_peak_is_near_and_never_above() {
    // Each phase rises above the one before it.
    let mut least = 0;
    rises_and_falls::<Libc>(&mut least);
    rises_and_falls::<SizePrefix<PlainLibc>>(&mut least);
    #[cfg(feature = "jemalloc")]
    rises_and_falls::<zmalloc::backend::Jemalloc>(&mut least);
    #[cfg(feature = "mimalloc")]
    rises_and_falls::<zmalloc::backend::Mimalloc>(&mut least);
    #[cfg(feature = "jemalloc")]
    {
        let heap = Zmalloc::<zmalloc::backend::Jemalloc, zmalloc::ledger::Detailed>::new();
        let block = heap.malloc(least + (3 << 20));
        // SAFETY: a live block, freed once.
        let charged = unsafe { heap.charged_size(block) };
        // SAFETY: as above.
        unsafe { heap.free(block) };
        assert!(
            peak_memory() >= charged.saturating_sub(STEPS * STEP),
            "one block of {charged}, peak {}",
            peak_memory()
        );
    }
}

fn rises_and_falls<B: Backend>(least: &mut usize) {
    let heap = Zmalloc::<B, TotalsOnly>::new();
    // One thread, many times up and down; what really lived is known after each block.
    for (size, top) in [(100, *least + (2 << 20)), (5000, *least + (4 << 20)), (300_000, *least + (9 << 20))] {
        let mut highest = 0;
        for target in [top / 3, top, top / 2] {
            let mut held = Held::default();
            while held.charged < target {
                held.take(&heap, size);
            }
            highest = highest.max(held.charged);
            held.free(&heap);
        }
        assert_peak::<B>(highest, 1);
        *least = highest;
    }
    // Threads that rise together and fall apart.
    const THREADS: usize = 4;
    let each = *least / THREADS + (2 << 20);
    let barrier = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || {
                let mut highest = 0;
                for round in 0..3 {
                    let mut held = Held::default();
                    while held.charged < each {
                        held.take(&heap, 50 + 700 * thread + round);
                    }
                    highest = highest.max(held.charged);
                    barrier.wait();
                    held.free(&heap);
                    barrier.wait();
                }
                highest
            })
        })
        .collect();
    let highest = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_peak::<B>(highest, THREADS);
    *least = highest;
}

/// What one thread holds, by its own account.
#[derive(Default)]
struct Held {
    blocks: Vec<*mut u8>,
    charged: usize,
}

impl Held {
    fn take<B: Backend>(&mut self, heap: &Zmalloc<B>, size: usize) {
        let block = heap.malloc(size);
        // SAFETY: a live block.
        self.charged += unsafe { heap.charged_size(block) };
        self.blocks.push(block);
    }

    fn free<B: Backend>(self, heap: &Zmalloc<B>) {
        // SAFETY: live blocks, freed once.
        self.blocks.into_iter().for_each(|block| unsafe { heap.free(block) });
    }
}

#[track_caller]
fn assert_peak<B: Backend>(highest: usize, threads: usize) {
    assert_eq!(used_memory(), 0);
    let peak = peak_memory();
    let slack = STEPS * STEP.max(highest / 256 / threads) * threads;
    assert!(peak <= highest, "{}: the peak {peak} is above what lived, {highest}", B::NAME);
    assert!(peak >= highest - slack, "{}: the peak {peak} is more than {slack} below {highest}", B::NAME);
}
