//! The cost of `used_memory()` with 1, 16 and 64 threads registered: parked, and then two of them at work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Instant;

#[global_allocator]
static HEAP: zmalloc::Zmalloc = zmalloc::Zmalloc::new();

fn main() {
    println!("| threads | working | used_memory(), median of 101 rounds of 1000 |\n|---|---|---|");
    for threads in [1, 16, 64] {
        for working in [0, 2] {
            if working >= threads {
                continue;
            }
            let (ready, stop) = (Arc::new(Barrier::new(threads)), Arc::new(AtomicBool::new(false)));
            let others: Vec<_> = (1..threads)
                .map(|thread| {
                    let (ready, stop) = (Arc::clone(&ready), Arc::clone(&stop));
                    std::thread::spawn(move || {
                        let mut kept = vec![0u8; 100 + thread];
                        ready.wait();
                        while !stop.load(Ordering::Relaxed) {
                            if thread <= working {
                                kept = std::hint::black_box(vec![1u8; 100 + kept.len() % 1000]);
                            } else {
                                std::thread::park_timeout(std::time::Duration::from_millis(50));
                            }
                        }
                    })
                })
                .collect();
            ready.wait();
            let mut rounds: Vec<f64> = (0..101)
                .map(|_| {
                    let start = Instant::now();
                    for _ in 0..1000 {
                        std::hint::black_box(zmalloc::used_memory());
                    }
                    start.elapsed().as_nanos() as f64 / 1000.0
                })
                .collect();
            rounds.sort_by(f64::total_cmp);
            println!("| {threads} | {working} | {:.2} us |", rounds[50] / 1000.0);
            stop.store(true, Ordering::Relaxed);
            others.into_iter().for_each(|thread| thread.join().expect("a thread"));
        }
    }
}
