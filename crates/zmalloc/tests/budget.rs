//! The hard limit, over every backend: an independent count of live bytes is never above it, however many threads allocate,
//! resize, free each other's blocks, end, and whoever sets the limit meanwhile; and refusals do not come early.
//!
//! The harness's own memory comes from std's `System` and is not counted. One test per process: limit and ledger are global.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Barrier, Mutex};
use std::thread;
use zmalloc::backend::{Backend, Libc, PlainLibc, SizePrefix};
use zmalloc::budget::set_limit_bytes_hard;
use zmalloc::ledger::{Detail, Detailed, TotalsOnly};
use zmalloc::{Zmalloc, used_memory};

#[test]
fn a_hard_limit_holds_to_the_byte_over_every_backend() {
    scenario::<Libc, TotalsOnly>();
    scenario::<Libc, Detailed>();
    scenario::<SizePrefix<PlainLibc>, TotalsOnly>();
    #[cfg(feature = "jemalloc")]
    {
        scenario::<zmalloc::backend::Jemalloc, TotalsOnly>();
        scenario::<zmalloc::backend::Jemalloc, Detailed>();
    }
    #[cfg(feature = "mimalloc")]
    scenario::<zmalloc::backend::Mimalloc, TotalsOnly>();
    #[cfg(feature = "snmalloc")]
    scenario::<zmalloc::backend::Snmalloc, TotalsOnly>();
    #[cfg(feature = "tcmalloc")]
    scenario::<zmalloc::backend::Tcmalloc, TotalsOnly>();
    #[cfg(any(target_vendor = "apple", feature = "apple-stand-in"))]
    scenario::<zmalloc::backend::Apple, TotalsOnly>();
}

fn scenario<B: Backend, D: Detail>() {
    println!("{}", B::NAME);
    churn_at_the_limit::<B, D>();
    refusals_are_not_early::<B, D>();
    lowered_and_lifted::<B, D>();
    in_a_child::<B, D>();
    set_limit_bytes_hard(None);
    assert_eq!(used_memory(), 0);
}

/// What lives, counted after a block was given out and before it is taken back: never more than the truth.
static LIVE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

struct Block<B: Backend, D: Detail>(*mut u8, usize, std::marker::PhantomData<(B, D)>);

// SAFETY: raw memory, freed by whoever has it.
unsafe impl<B: Backend, D: Detail> Send for Block<B, D> {}

fn count(charged: usize) {
    MOST.fetch_max(LIVE.fetch_add(charged, SeqCst) + charged, SeqCst);
}

impl<B: Backend, D: Detail> Block<B, D> {
    fn heap() -> Zmalloc<B, D> {
        Zmalloc::new()
    }

    fn of(ptr: *mut u8) -> Option<Self> {
        if ptr.is_null() {
            return None;
        }
        // SAFETY: a live block.
        let charged = unsafe { Self::heap().charged_size(ptr) };
        count(charged);
        Some(Block(ptr, charged, std::marker::PhantomData))
    }

    fn new(random: &mut Random, size: usize) -> Option<Self> {
        Self::of(match random.below(4) {
            0 => Self::heap().try_calloc(size),
            1 => Self::heap().try_malloc_aligned(1 << random.below(13), size),
            _ => Self::heap().try_malloc(size),
        })
    }

    fn resize(&mut self, size: usize) -> bool {
        LIVE.fetch_sub(self.1, SeqCst);
        // SAFETY: a live block and a size above 0.
        let resized = unsafe { Self::heap().try_realloc(self.0, size) };
        if !resized.is_null() {
            self.0 = resized;
            // SAFETY: a live block.
            self.1 = unsafe { Self::heap().charged_size(resized) };
        }
        count(self.1);
        !resized.is_null()
    }
}

impl<B: Backend, D: Detail> Drop for Block<B, D> {
    fn drop(&mut self) {
        LIVE.fetch_sub(self.1, SeqCst);
        // SAFETY: a live block, freed once.
        unsafe { Self::heap().free(self.0) };
    }
}

fn size(random: &mut Random) -> usize {
    match random.below(50) {
        0 => 1 + random.below(200_000),
        1..10 => 1 + random.below(20_000),
        _ => 1 + random.below(600),
    }
}

/// Threads that come and go, at a limit that is always near.
fn churn_at_the_limit<B: Backend, D: Detail>() {
    const LIMIT: usize = 3 << 20;
    let shelf: Mutex<Vec<Block<B, D>>> = Mutex::new(Vec::new());
    MOST.store(0, SeqCst);
    set_limit_bytes_hard(Some(LIMIT));
    for round in 0..4 {
        let refused = AtomicUsize::new(0);
        thread::scope(|threads| {
            for number in 0..8 {
                let (shelf, refused) = (&shelf, &refused);
                threads.spawn(move || {
                    let mut random = Random::new(round * 100 + number);
                    let mut own: Vec<Block<B, D>> = Vec::new();
                    for _ in 0..4_000 {
                        let size = size(&mut random);
                        let granted = match random.below(10) {
                            0 if !own.is_empty() => {
                                let at = random.below(own.len());
                                own[at].resize(size)
                            }
                            1 => {
                                shelf.lock().unwrap().extend(own.pop());
                                true
                            }
                            2 => {
                                let taken = shelf.lock().unwrap().pop();
                                drop(taken);
                                true
                            }
                            3 if own.len() > 200 => own.drain(..10).count() > 0,
                            _ => Block::new(&mut random, size).map(|block| own.push(block)).is_some(),
                        };
                        if !granted {
                            refused.fetch_add(1, SeqCst);
                            own.truncate(own.len() / 2);
                        }
                    }
                    // The rest is left to others.
                    shelf.lock().unwrap().extend(own);
                });
            }
        });
        assert!(refused.load(SeqCst) > 0, "the limit was never near");
        assert_eq!(used_memory(), LIVE.load(SeqCst));
    }
    assert!(MOST.load(SeqCst) <= LIMIT, "{} live under a limit of {LIMIT}", MOST.load(SeqCst));
    drop(shelf);
    assert_eq!(used_memory(), 0);
}

/// 64 threads that only allocate: the first refusal comes no earlier than 1 % before the limit, or 64 KiB for each thread.
fn refusals_are_not_early<B: Backend, D: Detail>() {
    const THREADS: usize = 64;
    const LIMIT: usize = 128 << 20;
    const EARLY: usize = if LIMIT / 100 > THREADS << 16 { LIMIT / 100 } else { THREADS << 16 };
    set_limit_bytes_hard(Some(LIMIT));
    MOST.store(0, SeqCst);
    let (start, first, done) = (Barrier::new(THREADS), AtomicUsize::new(usize::MAX), Barrier::new(THREADS));
    thread::scope(|threads| {
        for _ in 0..THREADS {
            threads.spawn(|| {
                let mut own: Vec<Block<B, D>> = Vec::new();
                start.wait();
                while let Some(block) = Block::of(Block::<B, D>::heap().try_malloc(1000)) {
                    own.push(block);
                }
                first.fetch_min(LIVE.load(SeqCst), SeqCst);
                done.wait();
            });
        }
    });
    let (first, most) = (first.load(SeqCst), MOST.load(SeqCst));
    println!("  first refusal at {first}, most {most} of {LIMIT}");
    assert!(most <= LIMIT, "{most} live under a limit of {LIMIT}");
    // A block for each thread may be given out and not counted here yet.
    assert!(first + EARLY + THREADS * 1280 >= LIMIT, "refused at {first}, {} early", LIMIT - first);
}

/// A limit that is set below what is used while threads run refuses all that adds, and one that is lifted nothing.
fn lowered_and_lifted<B: Backend, D: Detail>() {
    const THREADS: usize = 4;
    set_limit_bytes_hard(None);
    /// Stops the threads, also after a failure.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }
    let (stop, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|threads| {
        let _stop = Stop(&stop);
        for number in 0..THREADS {
            let (stop, refused) = (&stop, &refused);
            threads.spawn(move || {
                let mut random = Random::new(number as u64);
                let mut own: Vec<Block<B, D>> = Vec::new();
                while !stop.load(SeqCst) {
                    let size = size(&mut random);
                    match Block::new(&mut random, size) {
                        Some(block) => own.push(block),
                        None => _ = refused.fetch_add(1, SeqCst),
                    }
                    if own.len() > 300 {
                        own.swap_remove(0);
                    }
                }
            });
        }
        for round in 0..30 {
            while LIVE.load(SeqCst) < 256 << 10 {
                thread::yield_now();
            }
            let limit = LIVE.load(SeqCst) / 2;
            set_limit_bytes_hard(Some(limit));
            let (before, refused_before) = (used_memory(), refused.load(SeqCst));
            while refused.load(SeqCst) < refused_before + 100 {
                thread::yield_now();
            }
            MOST.store(0, SeqCst);
            while refused.load(SeqCst) < refused_before + 1000 {
                thread::yield_now();
            }
            // What each thread had under way may land at any time.
            let (most, under_way) = (MOST.load(SeqCst), THREADS * (256 << 10));
            assert!(most <= before.max(limit) + under_way, "round {round}: {most} after {before} under {limit}");
            set_limit_bytes_hard(None);
        }
    });
    assert_eq!(used_memory(), 0);
    assert!(refused.load(SeqCst) > 0);
}

/// A forked child keeps the limit, what lives, and is given what others were given.
fn in_a_child<B: Backend, D: Detail>() {
    const LIMIT: usize = 1 << 20;
    set_limit_bytes_hard(Some(LIMIT));
    // Threads of before may not have ended yet, with what they were given.
    let own = std::iter::repeat_with(|| Block::<B, D>::of(Block::<B, D>::heap().try_malloc(300_000)))
        .inspect(|_| thread::sleep(std::time::Duration::from_millis(1)))
        .take(10_000)
        .flatten()
        .next()
        .expect("what threads were given comes back when they end");
    let (parked, go) = (Barrier::new(9), Barrier::new(9));
    thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                drop(Block::<B, D>::of(Block::<B, D>::heap().malloc(100)));
                parked.wait();
                go.wait();
            });
        }
        parked.wait();
        in_forked_child(|| {
            MOST.store(0, SeqCst);
            let mut blocks = Vec::new();
            while let Some(block) = Block::<B, D>::of(Block::<B, D>::heap().try_malloc(100)) {
                blocks.push(block);
            }
            assert!(MOST.load(SeqCst) <= LIMIT && MOST.load(SeqCst) + (64 << 10) > LIMIT, "{}", MOST.load(SeqCst));
        });
        go.wait();
    });
    drop(own);
}

fn in_forked_child(section: impl FnOnce()) {
    // SAFETY: the child uses what is safe between fork and exec on this C library: its allocator.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(section));
        // SAFETY: ends the child at once, without the harness's own end.
        unsafe { libc::_exit(i32::from(result.is_err())) };
    }
    let mut status = 0;
    // SAFETY: a child of this process, and a writable status.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "the child failed");
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}
