//! The ledger against an independent recount of every live block, over every backend: threads that come and go, blocks
//! freed by others, thread-local destructors that allocate, forks while threads are parked, and a sampler beside it all.
//!
//! The harness's own memory comes from std's `System` and is not counted. One test per process: the ledger is global.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use zmalloc::backend::{Backend, Libc, PlainLibc, SizePrefix};
use zmalloc::ledger::{Detail, Detailed, TotalsOnly};
use zmalloc::{Zmalloc, totals, used_memory};

#[test]
fn the_ledger_equals_a_recount_over_every_backend() {
    let sampler = Sampler::start();
    for_each_backend();
    sampler.end();
    assert_eq!(used_memory(), 0, "everything was freed");
    assert_eq!(SHADOW.live(), 0);
}

fn for_each_backend() {
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
    let stash = Arc::new(Mutex::new(Vec::new()));
    for round in 0..6 {
        // Threads that work, end, and leave blocks to others.
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let stash = Arc::clone(&stash);
                thread::spawn(move || Worker::<B, D>::new(round * 100 + thread, &stash).work(800))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_at_rest::<B>("threads ended");

        // A fork while threads hold slots and are parked: the child has their blocks, and none of them.
        let (parked, go) = (Arc::new(Barrier::new(5)), Arc::new(Barrier::new(5)));
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (stash, parked, go) = (Arc::clone(&stash), Arc::clone(&parked), Arc::clone(&go));
                thread::spawn(move || {
                    let worker = Worker::<B, D>::new(round * 100 + 50 + thread, &stash);
                    worker.work(200);
                    parked.wait();
                    go.wait();
                    worker.work(200);
                })
            })
            .collect();
        parked.wait();
        assert_at_rest::<B>("threads parked");
        in_forked_child(|| {
            assert_at_rest::<B>("forked");
            Worker::<B, D>::new(round + 7, &stash).work(300);
            assert_at_rest::<B>("the child worked");
            // New threads get the stacks, and so the thread-local memory, of those that are gone.
            let threads: Vec<_> = (0..4)
                .map(|thread| {
                    let stash = Arc::clone(&stash);
                    thread::spawn(move || Worker::<B, D>::new(round * 10 + thread, &stash).work(200))
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_at_rest::<B>("the child's threads ended");
        });
        go.wait();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_at_rest::<B>("parked threads ended");
    }
    // A thread that never allocates and only frees.
    thread::spawn(move || {
        let blocks = std::mem::take(&mut *stash.lock().unwrap());
        blocks.into_iter().for_each(|block: Block| block.free::<B, D>());
    })
    .join()
    .unwrap();
    assert_at_rest::<B>("all freed");
}

fn assert_at_rest<B: Backend>(when: &str) {
    assert_eq!(used_memory() as u64, SHADOW.live(), "{}, {when}", B::NAME);
}

/// Runs `section` in a child, and passes its failure on.
fn in_forked_child(section: impl FnOnce()) {
    // SAFETY: the child uses what is safe between fork and exec on this C library: its allocator and threads.
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

/// What the program did, counted by itself. Each sum only grows.
struct Shadow {
    /// After an allocation.
    allocated: AtomicU64,
    /// Before a free.
    freeing: AtomicU64,
    /// After a free.
    freed: AtomicU64,
}

static SHADOW: Shadow = Shadow { allocated: AtomicU64::new(0), freeing: AtomicU64::new(0), freed: AtomicU64::new(0) };

impl Shadow {
    fn live(&self) -> u64 {
        self.allocated.load(SeqCst) - self.freed.load(SeqCst)
    }
}

/// Reads the ledger all the time, and holds each figure against what the shadow says is possible.
struct Sampler {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<u64>,
}

impl Sampler {
    fn start() -> Sampler {
        /// What all threads together may be allocating at a moment.
        const IN_FLIGHT: u64 = 32 << 20;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut samples = 0;
            let mut last = totals();
            while !stopped.load(SeqCst) {
                let (allocated, freed) = (SHADOW.allocated.load(SeqCst), SHADOW.freed.load(SeqCst));
                let used = used_memory() as u64;
                let most = SHADOW.allocated.load(SeqCst) + IN_FLIGHT - freed;
                let least = allocated.saturating_sub(SHADOW.freeing.load(SeqCst));
                assert!((least..=most).contains(&used), "{used} is not within {least} and {most}");
                let now = totals();
                assert!(now.freed_bytes >= last.freed_bytes, "sums only grow");
                last = now;
                samples += 1;
                thread::yield_now();
            }
            samples
        });
        Sampler { stop, thread }
    }

    fn end(self) {
        self.stop.store(true, SeqCst);
        let samples = self.thread.join().unwrap();
        assert!(samples > 100, "{samples} samples are too few to mean anything");
    }
}

/// A live block, and how it was made.
struct Block {
    ptr: usize,
    layout: Option<Layout>,
}

impl Block {
    fn new<B: Backend>(ptr: *mut u8, layout: Option<Layout>) -> Block {
        assert!(!ptr.is_null());
        // SAFETY: a live block; its charge is asked of the backend, not of the ledger.
        SHADOW.allocated.fetch_add(unsafe { B::charged_size(ptr) } as u64, SeqCst);
        // SAFETY: every block has a byte.
        unsafe { ptr.write(1) };
        Block { ptr: ptr.expose_provenance(), layout }
    }

    fn free<B: Backend, D: Detail>(self) {
        let heap = Zmalloc::<B, D>::new();
        let ptr = std::ptr::with_exposed_provenance_mut(self.ptr);
        // SAFETY: a live block, freed once, in the shape it was made.
        unsafe {
            let charged = B::charged_size(ptr) as u64;
            SHADOW.freeing.fetch_add(charged, SeqCst);
            match self.layout {
                Some(layout) => heap.dealloc(ptr, layout),
                None => heap.free(ptr),
            }
            SHADOW.freed.fetch_add(charged, SeqCst);
        }
    }

    fn resize<B: Backend, D: Detail>(self, size: usize) -> Block {
        let heap = Zmalloc::<B, D>::new();
        let ptr = std::ptr::with_exposed_provenance_mut(self.ptr);
        // SAFETY: a live block, resized in the shape it was made, and then the new one.
        unsafe {
            let before = B::charged_size(ptr) as u64;
            SHADOW.freeing.fetch_add(before, SeqCst);
            let (new, layout) = match self.layout {
                Some(layout) => {
                    let new = GlobalAlloc::realloc(&heap, ptr, layout, size);
                    (new, Some(Layout::from_size_align(size, layout.align()).unwrap()))
                }
                None => (Zmalloc::realloc(&heap, ptr, size), None),
            };
            let block = Block::new::<B>(new, layout);
            SHADOW.freed.fetch_add(before, SeqCst);
            block
        }
    }
}

type Stash = Arc<Mutex<Vec<Block>>>;

/// A thread's random program.
struct Worker<'stash, B: Backend, D: Detail> {
    random: RefCell<u64>,
    stash: &'stash Stash,
    heap: Zmalloc<B, D>,
}

impl<'stash, B: Backend, D: Detail> Worker<'stash, B, D> {
    fn new(seed: u64, stash: &'stash Stash) -> Self {
        let random = RefCell::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        Worker { random, stash, heap: Zmalloc::new() }
    }

    fn random(&self, below: usize) -> usize {
        let mut random = self.random.borrow_mut();
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        (*random >> 16) as usize % below
    }

    fn size(&self) -> usize {
        let log = self.random(if self.random(50) == 0 { 22 } else { 13 });
        1 + self.random(1 << log)
    }

    fn allocate(&self) -> Block {
        let layout = Layout::from_size_align(self.size(), 1 << self.random(8)).unwrap();
        // SAFETY: sizes above 0.
        let (ptr, layout) = unsafe {
            match self.random(5) {
                0 => (self.heap.alloc_zeroed(layout), Some(layout)),
                1 => (self.heap.malloc(layout.size()), None),
                2 => (self.heap.calloc(layout.size()), None),
                3 => (self.heap.try_malloc_aligned(layout.align(), layout.size()), None),
                _ => (self.heap.alloc(layout), Some(layout)),
            }
        };
        Block::new::<B>(ptr, layout)
    }

    fn work(&self, steps: usize) {
        let mut own: Vec<Block> = Vec::new();
        for _ in 0..steps {
            let at = self.random(own.len().max(1));
            match self.random(10) {
                0..4 => own.push(self.allocate()),
                4..6 if !own.is_empty() => own.swap_remove(at).free::<B, D>(),
                6 | 7 if !own.is_empty() => {
                    let block = own.swap_remove(at).resize::<B, D>(self.size());
                    own.push(block);
                }
                8 if !own.is_empty() => self.stash.lock().unwrap().push(own.swap_remove(at)),
                9 => {
                    let other = self.stash.lock().unwrap().pop();
                    if let Some(block) = other {
                        block.free::<B, D>();
                    }
                }
                _ => {}
            }
        }
        // What is left goes to a thread-local whose destructor frees it, and allocates while it does.
        AT_THREAD_EXIT.with_borrow_mut(|at_exit| {
            let (stash, seed) = (Arc::clone(self.stash), self.random(1000) as u64);
            at_exit.0.push(Box::new(move || {
                let worker = Worker::<B, D>::new(seed, &stash);
                for block in own {
                    let new = worker.allocate();
                    block.free::<B, D>();
                    stash.lock().unwrap().push(new);
                }
            }));
        });
        in_late_destructor(|| {
            // After every Rust destructor: a thread-specific key's.
            let block = Worker::<B, D>::new(99, &Arc::default()).allocate();
            block.resize::<B, D>(5000).free::<B, D>();
        });
    }
}

/// Runs its sections when the thread ends.
struct AtThreadExit(Vec<Box<dyn FnOnce()>>);

impl Drop for AtThreadExit {
    fn drop(&mut self) {
        self.0.drain(..).for_each(|section| section());
    }
}

thread_local! {
    static AT_THREAD_EXIT: RefCell<AtThreadExit> = const { RefCell::new(AtThreadExit(Vec::new())) };
}

/// Runs `section` in a destructor of a thread-specific key, some rounds of destructors later than all others.
fn in_late_destructor(section: fn()) {
    static KEY: std::sync::OnceLock<libc::pthread_key_t> = std::sync::OnceLock::new();

    extern "C" fn destroy(section: *mut libc::c_void) {
        // SAFETY: the value set below.
        let section = unsafe { std::mem::transmute::<*mut libc::c_void, fn()>(section) };
        section();
    }

    let key = *KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY: a writable key and a destructor of the right signature.
        assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(destroy)) }, 0);
        key
    });
    // SAFETY: the key exists; the value is only handed to `destroy`.
    assert_eq!(unsafe { libc::pthread_setspecific(key, section as *const libc::c_void) }, 0);
}
