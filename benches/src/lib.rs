//! The workloads, the same for every allocator: each binary of this package is these and one `#[global_allocator]`.

use std::alloc::{Layout, alloc, dealloc};
use std::hint::black_box;
use std::sync::Barrier;

/// One workload: its name, and what one thread does of it, answering how many pairs of allocate and free it made.
pub struct Workload {
    pub name: &'static str,
    pub run: fn(pairs: usize, seed: u64) -> usize,
    /// Pairs that take about 50 ms over a fast allocator.
    pub pairs: usize,
}

pub const WORKLOADS: &[Workload] = &[
    Workload { name: "pair-64", run: pair::<64>, pairs: 6_000_000 },
    Workload { name: "pair-4096", run: pair::<4096>, pairs: 4_000_000 },
    Workload { name: "set-100k", run: working_set, pairs: 1_500_000 },
    Workload { name: "vec-grow", run: grow, pairs: 4_000 },
];

/// Allocates and frees one block at a time.
fn pair<const BYTES: usize>(pairs: usize, _: u64) -> usize {
    let layout = Layout::from_size_align(BYTES, 8).unwrap();
    for _ in 0..pairs {
        // SAFETY: the size is above 0, and the block is given back with its layout.
        unsafe {
            let block = alloc(black_box(layout));
            block.write(1);
            dealloc(black_box(block), black_box(layout));
        }
    }
    pairs
}

/// Keeps 100,000 blocks of 16 to 1024 bytes, and replaces one at random each time.
fn working_set(pairs: usize, seed: u64) -> usize {
    const BLOCKS: usize = 100_000;
    turn(0);
    let mut random = Random(seed | 1);
    let take = |random: &mut Random| {
        let layout = Layout::from_size_align(16 + random.next() as usize % 1009, 8).unwrap();
        // SAFETY: the size is above 0.
        let block = unsafe { alloc(layout) };
        // SAFETY: a new block.
        unsafe { block.write(1) };
        (block, layout)
    };
    let mut blocks: Vec<_> = (0..BLOCKS).map(|_| take(&mut random)).collect();
    let start = thread_nanoseconds();
    for pair in 0..pairs {
        if pair % 64 == 0 {
            turn(pair / 64);
        }
        let at = random.next() as usize % BLOCKS;
        let (block, layout) = blocks[at];
        // SAFETY: a live block and its layout.
        unsafe { dealloc(block, layout) };
        blocks[at] = take(&mut random);
    }
    SETUP.with(|setup| setup.set(thread_nanoseconds() - start));
    for (block, layout) in blocks {
        // SAFETY: a live block and its layout.
        unsafe { dealloc(block, layout) };
    }
    pairs
}

/// Called by the working set at its start and after every 64 replacements, for those who change something then.
pub static TURN: std::sync::OnceLock<fn(usize)> = std::sync::OnceLock::new();

fn turn(number: usize) {
    if let Some(turn) = TURN.get() {
        turn(number);
    }
}

/// Grows a vector to 256 KiB by doubling.
fn grow(pairs: usize, _: u64) -> usize {
    for _ in 0..pairs {
        let mut list: Vec<u8> = Vec::with_capacity(16);
        while list.capacity() < 256 << 10 {
            // The vector stays empty, so that this is the new capacity.
            list.reserve_exact(2 * list.capacity());
            black_box(list.as_mut_ptr());
        }
    }
    pairs
}

thread_local! {
    /// The time of the measured part, where a workload measures it itself.
    static SETUP: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// The processor time of the calling thread.
pub fn thread_nanoseconds() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// `WORKLOAD THREADS [SCALE]`: prints the nanoseconds of processor time per pair, the mean over the threads.
pub fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let workload = WORKLOADS.iter().find(|workload| workload.name == arguments[1]).expect("a workload of the list");
    let threads: usize = arguments[2].parse().expect("a number of threads");
    let scale: f64 = arguments.get(3).map_or(1.0, |scale| scale.parse().expect("a scale"));
    let pairs = ((workload.pairs as f64 * scale / threads as f64) as usize).max(1);
    let barrier = Barrier::new(threads);
    let measure = |thread: usize| {
        (workload.run)(pairs / 10 + 1, 7);
        barrier.wait();
        SETUP.with(|setup| setup.set(0));
        let start = thread_nanoseconds();
        let made = (workload.run)(pairs, 0x9E37_79B9 + thread as u64);
        let whole = thread_nanoseconds() - start;
        let measured = SETUP.with(|setup| setup.get());
        (if measured > 0 { measured } else { whole }) as f64 / made as f64
    };
    let sum: f64 = std::thread::scope(|scope| {
        let measure = &measure;
        let running: Vec<_> = (1..threads).map(|thread| scope.spawn(move || measure(thread))).collect();
        measure(0) + running.into_iter().map(|thread| thread.join().unwrap()).sum::<f64>()
    });
    println!("{:.3}", sum / threads as f64);
}
