//! What scopes cost: processor time of one entry and exit, and of a 64 B pair with and without one around it, over jemalloc
//! or with `--libc` over the C library's allocator. The cases in turn, medians of 11 rounds.

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use zmalloc::backend::{Jemalloc, Libc};
use zmalloc::{Scope, Zmalloc};

const ROUNDS: usize = 11;
const TIMES: u32 = 2_000_000;

fn main() {
    let threads = |heap: fn(usize) -> Vec<f64>| {
        for count in [1, 2] {
            let all: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..count).map(|_| scope.spawn(move || heap(count))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            for (at, name) in CASES.iter().enumerate() {
                let mean = all.iter().map(|thread: &Vec<f64>| thread[at]).sum::<f64>() / count as f64;
                println!("| {name} | {count} | {mean:.1} ns |");
            }
        }
    };
    println!("| | threads | median of {ROUNDS} |\n|---|---|---|");
    if std::env::args().any(|argument| argument == "--libc") {
        threads(|_| measure(&Zmalloc::<Libc>::new()));
    } else {
        threads(|_| measure(&Zmalloc::<Jemalloc>::new()));
    }
}

const CASES: [&str; 9] = [
    "64 B pair",
    "enter and exit",
    "enter and exit, a 64 B pair within",
    "enter and exit within another scope",
    "enter and exit within another scope, a 64 B pair within",
    "enter and exit a scope that all threads use, a 64 B pair within",
    "enter and exit a scope that another thread was the first in, a 64 B pair within",
    "make and drop a scope",
    "enter and exit, one of 10,000 scopes at random, a 64 B pair within",
];

fn measure(heap: &impl GlobalAlloc) -> Vec<f64> {
    static SHARED: std::sync::OnceLock<Scope> = std::sync::OnceLock::new();
    let (outer, shared) = (Scope::new("outer"), SHARED.get_or_init(|| Scope::new("shared")));
    let inner = outer.child("inner");
    let many: Vec<Scope> = (0..10_000).map(|_| outer.child("one of many")).collect();
    let others = Scope::new("another thread's");
    std::thread::scope(|threads| threads.spawn(|| others.run(|| {})).join().unwrap());
    let pair = || {
        let layout = black_box(Layout::new::<[u64; 8]>());
        // SAFETY: the size is above 0, and the block is given back with its layout.
        unsafe { heap.dealloc(black_box(heap.alloc(layout)), layout) };
    };
    let mut random = 1u64;
    let mut times = vec![Vec::new(); CASES.len()];
    for round in 0..=ROUNDS {
        let mut at = 0;
        let mut case = |section: &mut dyn FnMut()| {
            let time = processor_nanoseconds(section) / f64::from(TIMES);
            // The first round warms up.
            if round > 0 {
                times[at].push(time);
            }
            at += 1;
        };
        case(&mut || repeat(pair));
        case(&mut || repeat(|| outer.run(|| black_box(()))));
        case(&mut || repeat(|| outer.run(pair)));
        let guard = outer.enter();
        case(&mut || repeat(|| inner.run(|| black_box(()))));
        case(&mut || repeat(|| inner.run(pair)));
        drop(guard);
        case(&mut || repeat(|| shared.run(pair)));
        case(&mut || repeat(|| others.run(pair)));
        case(&mut || repeat(|| drop(black_box(Scope::new("new")))));
        case(&mut || {
            repeat(|| {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                many[(random >> 33) as usize % many.len()].run(pair);
            });
        });
    }
    times.into_iter().map(median).collect()
}

fn repeat(mut section: impl FnMut()) {
    (0..TIMES).for_each(|_| section());
}

fn processor_nanoseconds(section: &mut dyn FnMut()) -> f64 {
    let start = zmalloc_benches::thread_nanoseconds();
    section();
    (zmalloc_benches::thread_nanoseconds() - start) as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
