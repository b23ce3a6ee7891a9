//! Every backend keeps the contract of `Backend`: random programs of all operations against a naive model, and then
//! the same through a heap, whose ledger must agree with a recount.
//!
//! With the feature `tcmalloc` C's `malloc` is tcmalloc's in this whole process, so that `Libc` tests it a second time.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::mpsc;
use zmalloc::backend::{Backend, Libc, PlainAllocator, PlainLibc, SizePrefix};
use zmalloc::ledger::{Detail, Detailed, TotalsOnly};
use zmalloc::{Zmalloc, used_memory};

/// Runs a generic function for each backend that is compiled in.
macro_rules! for_each_backend {
    ($function:ident) => {
        $function::<Libc>();
        $function::<SizePrefix<PlainLibc>>();
        $function::<SizePrefix<Odd>>();
        #[cfg(feature = "jemalloc")]
        $function::<zmalloc::backend::Jemalloc>();
        #[cfg(feature = "mimalloc")]
        $function::<zmalloc::backend::Mimalloc>();
        #[cfg(feature = "snmalloc")]
        $function::<zmalloc::backend::Snmalloc>();
        #[cfg(feature = "tcmalloc")]
        $function::<zmalloc::backend::Tcmalloc>();
        #[cfg(any(target_vendor = "apple", feature = "apple-stand-in"))]
        $function::<zmalloc::backend::Apple>();
    };
}

#[test]
fn random_programs_keep_every_promise() {
    fn check<B: Backend>() {
        for seed in 1..=8 {
            let mut program = Program::<Direct<B>>::new(seed);
            (0..4000).for_each(|_| program.step());
            program.end();
        }
    }
    for_each_backend!(check);
}

#[test]
fn every_small_size_and_alignment_is_credited_what_it_was_charged() {
    fn check<B: Backend>() {
        for log in 0..=16 {
            for size in
                (1..=2100).chain([4095, 4096, 4097, 8191, 8192, 8193, 32768, 32769, 65536, 65537, 262_145, 1 << 20])
            {
                let layout = Layout::from_size_align(size, 1 << log).unwrap();
                // SAFETY: a size above 0; the block is freed once, with its layout or by itself.
                unsafe {
                    for end in [End::ByLayout, End::Alone, End::Charged] {
                        let Given { ptr, charged } = by_layout::<B>(B::allocate(layout), layout);
                        assert_eq!(ptr.addr() % layout.align(), 0, "{}: {layout:?}", B::NAME);
                        assert!((size..=charged).contains(&B::usable_size(ptr)), "{}: {layout:?}", B::NAME);
                        assert_eq!(end.credit::<B>(ptr, Some(layout)), charged, "{}: {layout:?}", B::NAME);
                    }
                }
            }
        }
    }
    for_each_backend!(check);
}

#[test]
fn a_block_resized_step_by_step_keeps_its_account() {
    fn check<B: Backend>() {
        for log in [0, 3, 4, 5, 12] {
            let mut layout = Layout::from_size_align(1, 1 << log).unwrap();
            // SAFETY: sizes above 0; the block is freed once, with the layout it was last resized to.
            unsafe {
                let mut block = by_layout::<B>(B::allocate(layout), layout);
                let sizes = (1..3000).step_by(37).chain((1..3000).rev().step_by(41)).chain([1 << 20, 600_000, 900, 30]);
                for size in sizes {
                    let credited = by_layout::<B>(block.ptr, layout).charged;
                    assert_eq!(credited, block.charged, "{}: {layout:?} to {size}", B::NAME);
                    let resized = Layout::from_size_align(size, layout.align()).unwrap();
                    block = by_layout::<B>(B::reallocate(block.ptr, layout, size), resized);
                    assert_eq!(block.ptr.addr() % layout.align(), 0, "{}: {layout:?} to {size}", B::NAME);
                    layout = resized;
                }
                assert_eq!(End::ByLayout.credit::<B>(block.ptr, Some(layout)), block.charged, "{}", B::NAME);
            }
        }
    }
    for_each_backend!(check);
}

#[test]
fn another_thread_credits_the_same() {
    fn check<B: Backend>() {
        let (send, receive) = mpsc::sync_channel::<(usize, Option<Layout>, usize)>(64);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for (ptr, layout, charged) in receive {
                    let ptr = std::ptr::with_exposed_provenance_mut(ptr);
                    // SAFETY: a live block, freed once, here.
                    let credited = unsafe {
                        let end = if layout.is_some() { End::ByLayout } else { End::Charged };
                        end.credit::<B>(ptr, layout)
                    };
                    assert_eq!(credited, charged, "{}: {layout:?}", B::NAME);
                }
            });
            let mut random = Random(7);
            for _ in 0..20_000 {
                let layout = Layout::from_size_align(random.size().max(1), random.alignment()).unwrap();
                // SAFETY: sizes above 0, powers of two.
                let (block, layout) = unsafe {
                    match random.below(3) {
                        0 => (alone::<B>(B::malloc(layout.size())), None),
                        1 => (alone::<B>(B::malloc_aligned(layout.align(), layout.size())), None),
                        _ => (by_layout::<B>(B::allocate(layout), layout), Some(layout)),
                    }
                };
                send.send((block.ptr.expose_provenance(), layout, block.charged)).unwrap();
            }
            drop(send);
        });
    }
    for_each_backend!(check);
}

#[test]
fn a_refusal_changes_nothing() {
    fn check<B: Backend>() {
        // The largest a layout may be, and what is beyond any address space.
        let too_large = [isize::MAX as usize - 65_535, isize::MAX as usize / 2, 1 << 56];
        for size in too_large {
            // SAFETY: sizes above 0, powers of two; the blocks are live until freed.
            unsafe {
                for alignment in [1, 8, 16, 64, 4096] {
                    let layout = Layout::from_size_align(size, alignment).unwrap();
                    refused::<B>(B::allocate(layout), layout);
                    refused::<B>(B::allocate_zeroed(layout), layout);
                    refused::<B>(B::malloc_aligned(alignment, size), layout);
                    refused::<B>(B::malloc(size), layout);
                    refused::<B>(B::calloc(size), layout);

                    for old in [100, 5000, 300_000] {
                        let layout = Layout::from_size_align(old, alignment).unwrap();
                        let block = by_layout::<B>(B::allocate(layout), layout);
                        block.ptr.write_bytes(0x5a, old);
                        assert!(B::reallocate(block.ptr, layout, size).is_null(), "{}: {layout:?} to {size}", B::NAME);
                        assert!(B::realloc(block.ptr, size).is_null(), "{}: {layout:?} to {size}", B::NAME);
                        assert!(std::slice::from_raw_parts(block.ptr, old).iter().all(|&byte| byte == 0x5a));
                        assert_eq!(End::ByLayout.credit::<B>(block.ptr, Some(layout)), block.charged);
                    }
                }
            }
        }
        // C's sizes end where `usize` does, not where layouts do.
        // SAFETY: nothing is given out.
        unsafe {
            for size in [usize::MAX, usize::MAX - 8, usize::MAX - 4096, isize::MAX as usize + 1] {
                assert!(B::malloc(size).is_null() && B::calloc(size).is_null(), "{}: {size}", B::NAME);
                assert!(B::malloc_aligned(64, size).is_null(), "{}: {size}", B::NAME);
            }
        }
    }

    fn refused<B: Backend>(block: *mut u8, layout: Layout) {
        assert!(block.is_null(), "{}: {layout:?} gave {block:?}", B::NAME);
    }
    for_each_backend!(check);
}

#[test]
fn tells_name_and_version() {
    fn check<B: Backend>() {
        assert!(!B::NAME.is_empty() && B::NAME.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
        assert!(B::version().as_str().bytes().all(|byte| byte.is_ascii_graphic()));
        let figures = B::statistics();
        if let (Some(allocated), Some(active)) = (figures.allocated, figures.active) {
            assert!(allocated <= active, "{}: {figures:?}", B::NAME);
        }
        B::purge();
    }
    for_each_backend!(check);
}

/// The only test here that counts: the ledger is the process's.
#[test]
fn the_ledger_is_a_recount() {
    fn check<B: Backend>() {
        recount::<B, TotalsOnly>();
        let blocks = || zmalloc::ledger::details().blocks_live();
        let before = blocks();
        recount::<B, Detailed>();
        assert_eq!(blocks(), before, "{}", B::NAME);
    }

    fn recount<B: Backend, D: Detail>() {
        let before = used_memory();
        let programs: Vec<_> = std::thread::scope(|scope| {
            let run = |seed| {
                let mut program = Program::<Counted<B, D>>::new(seed);
                (0..3000).for_each(|_| program.step());
                program
            };
            let threads: Vec<_> = (1..=4).map(|seed| scope.spawn(move || run(seed * 977))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let live: usize = programs.iter().flat_map(|program| &program.blocks).map(|block| block.charged).sum();
        assert_eq!(used_memory() - before, live, "{} at rest", B::NAME);
        // Other threads go on with what these began.
        std::thread::scope(|scope| {
            for mut program in programs {
                scope.spawn(move || {
                    (0..1000).for_each(|_| program.step());
                    program.end();
                });
            }
        });
        assert_eq!(used_memory(), before, "{} at the end", B::NAME);
    }
    for_each_backend!(check);
}

/// A block and its charge, as the ledger would read it right after the block was given out; null has none.
#[derive(Clone, Copy, Debug)]
struct Given {
    ptr: *mut u8,
    charged: usize,
}

/// The charge of a block by layout, which both ways to ask for it tell.
///
/// # Safety
/// `ptr` is null or a live block of this layout.
unsafe fn by_layout<B: Backend>(ptr: *mut u8, layout: Layout) -> Given {
    // SAFETY: a live block of this layout.
    unsafe {
        if !ptr.is_null() {
            // First as the ledger asks, which may teach the backend something.
            assert_eq!(B::charged_size_of(ptr, layout), B::charged_size(ptr), "{}: {layout:?}", B::NAME);
            let at_hand = B::charged_at_hand(ptr, layout);
            assert!(at_hand.is_none_or(|charged| charged == B::charged_size(ptr)), "{}: {layout:?}", B::NAME);
        }
        alone::<B>(ptr)
    }
}

/// # Safety
/// `ptr` is null or a live block.
unsafe fn alone<B: Backend>(ptr: *mut u8) -> Given {
    // SAFETY: a live block.
    Given { ptr, charged: if ptr.is_null() { 0 } else { unsafe { B::charged_size(ptr) } } }
}

/// The ways to give a block back.
#[derive(Clone, Copy)]
enum End {
    ByLayout,
    Alone,
    Charged,
}

impl End {
    /// The charge as the ledger would read it right before, then the end.
    ///
    /// # Safety
    /// `ptr` is a live block, of that layout if there is one, which is not used again.
    unsafe fn credit<B: Backend>(self, ptr: *mut u8, layout: Option<Layout>) -> usize {
        // SAFETY: the caller's contract is the callees'.
        unsafe {
            let charged = layout.map_or_else(|| alone::<B>(ptr), |layout| by_layout::<B>(ptr, layout)).charged;
            match (self, layout) {
                (End::ByLayout, Some(layout)) => B::deallocate(ptr, layout),
                (End::Charged, _) => B::free_charged(ptr, charged),
                _ => B::free(ptr),
            }
            charged
        }
    }
}

/// What a random program runs on: a backend itself, or a heap over it.
trait Subject: 'static {
    type Backend: Backend;

    unsafe fn allocate(layout: Layout, zeroed: bool) -> Given;
    /// The credit, if it is told.
    unsafe fn end(end: End, ptr: *mut u8, layout: Option<Layout>) -> Option<usize>;
    unsafe fn reallocate(ptr: *mut u8, layout: Layout, size: usize) -> (Given, Option<usize>);
    unsafe fn malloc(size: usize, zeroed: bool) -> Given;
    unsafe fn malloc_aligned(alignment: usize, size: usize) -> Given;
    unsafe fn realloc(ptr: *mut u8, size: usize) -> (Given, Option<usize>);
}

struct Direct<B>(std::marker::PhantomData<B>);

// SAFETY (of every block in here): the caller's contract is the callee's.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one line each, as said above")]
impl<B: Backend> Subject for Direct<B> {
    type Backend = B;

    unsafe fn allocate(layout: Layout, zeroed: bool) -> Given {
        unsafe { by_layout::<B>(if zeroed { B::allocate_zeroed(layout) } else { B::allocate(layout) }, layout) }
    }

    unsafe fn end(end: End, ptr: *mut u8, layout: Option<Layout>) -> Option<usize> {
        Some(unsafe { end.credit::<B>(ptr, layout) })
    }

    unsafe fn reallocate(ptr: *mut u8, layout: Layout, size: usize) -> (Given, Option<usize>) {
        unsafe {
            let credited = by_layout::<B>(ptr, layout).charged;
            let resized = Layout::from_size_align(size, layout.align()).unwrap();
            (by_layout::<B>(B::reallocate(ptr, layout, size), resized), Some(credited))
        }
    }

    unsafe fn malloc(size: usize, zeroed: bool) -> Given {
        unsafe { alone::<B>(if zeroed { B::calloc(size) } else { B::malloc(size) }) }
    }

    unsafe fn malloc_aligned(alignment: usize, size: usize) -> Given {
        unsafe { alone::<B>(B::malloc_aligned(alignment, size)) }
    }

    unsafe fn realloc(ptr: *mut u8, size: usize) -> (Given, Option<usize>) {
        unsafe {
            let credited = B::charged_size(ptr);
            (alone::<B>(B::realloc(ptr, size)), Some(credited))
        }
    }
}

struct Counted<B, D>(std::marker::PhantomData<(B, D)>);

impl<B: Backend, D: Detail> Counted<B, D> {
    const HEAP: Zmalloc<B, D> = Zmalloc::new();

    fn charged(ptr: *mut u8) -> Given {
        // SAFETY: null or a block that the heap just gave.
        Given { ptr, charged: unsafe { Self::HEAP.charged_size(ptr) } }
    }
}

// SAFETY (of every block in here): the caller's contract is the callee's.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one line each, as said above")]
impl<B: Backend, D: Detail> Subject for Counted<B, D> {
    type Backend = B;

    unsafe fn allocate(layout: Layout, zeroed: bool) -> Given {
        Self::charged(unsafe { if zeroed { Self::HEAP.alloc_zeroed(layout) } else { Self::HEAP.alloc(layout) } })
    }

    unsafe fn end(end: End, ptr: *mut u8, layout: Option<Layout>) -> Option<usize> {
        unsafe {
            match (end, layout) {
                (End::ByLayout, Some(layout)) => Self::HEAP.dealloc(ptr, layout),
                _ => Self::HEAP.free(ptr),
            }
        }
        None
    }

    unsafe fn reallocate(ptr: *mut u8, layout: Layout, size: usize) -> (Given, Option<usize>) {
        (Self::charged(unsafe { GlobalAlloc::realloc(&Self::HEAP, ptr, layout, size) }), None)
    }

    unsafe fn malloc(size: usize, zeroed: bool) -> Given {
        Self::charged(if zeroed { Self::HEAP.calloc(size) } else { Self::HEAP.malloc(size) })
    }

    unsafe fn malloc_aligned(alignment: usize, size: usize) -> Given {
        Self::charged(Self::HEAP.try_malloc_aligned(alignment, size))
    }

    unsafe fn realloc(ptr: *mut u8, size: usize) -> (Given, Option<usize>) {
        (Self::charged(unsafe { Zmalloc::realloc(&Self::HEAP, ptr, size) }), None)
    }
}

/// A random program and its model: what each live block was asked for, holds and was charged.
struct Program<S> {
    random: Random,
    blocks: Vec<Block>,
    subject: std::marker::PhantomData<fn() -> S>,
}

struct Block {
    ptr: *mut u8,
    /// The layout it was last given or resized to, if it was made by layout.
    layout: Option<Layout>,
    size: usize,
    usable: usize,
    charged: usize,
    /// Every usable byte.
    content: u8,
}

// SAFETY: the block belongs to whoever has this value.
unsafe impl Send for Block {}

impl<S: Subject> Program<S> {
    fn new(seed: u64) -> Self {
        Program { random: Random(seed), blocks: Vec::new(), subject: std::marker::PhantomData }
    }

    fn step(&mut self) {
        match self.random.below(10) {
            0..3 => self.allocate(),
            3..5 => self.malloc(),
            5..7 => self.resize(),
            _ => self.free(),
        }
    }

    /// Frees what is left.
    fn end(mut self) {
        while !self.blocks.is_empty() {
            self.free();
        }
    }

    fn allocate(&mut self) {
        let size = self.random.size().max(1);
        let layout = Layout::from_size_align(size, self.random.alignment()).unwrap();
        let zeroed = self.random.below(3) == 0;
        // SAFETY: a size above 0.
        let new = unsafe { S::allocate(layout, zeroed) };
        self.keep(new, Some(layout), layout.align(), size, zeroed);
    }

    fn malloc(&mut self) {
        let (size, zeroed) = (self.random.size(), self.random.below(3) == 0);
        if self.random.below(4) == 0 {
            let alignment = self.random.alignment();
            // SAFETY: a power of two.
            let new = unsafe { S::malloc_aligned(alignment, size) };
            return self.keep(new, None, alignment, size, false);
        }
        // SAFETY: no conditions.
        let new = unsafe { S::malloc(size, zeroed) };
        // Any type that fits, up to `max_align_t`; but to 8 if jemalloc was built with classes that are multiples of it.
        let fine = option_env!("JEMALLOC_SYS_WITH_LG_QUANTUM").is_some() && S::Backend::NAME == "jemalloc";
        let alignment = 1 << size.clamp(1, if fine && !size.is_multiple_of(16) { 8 } else { 16 }).ilog2();
        self.keep(new, None, alignment, size, zeroed);
    }

    fn resize(&mut self) {
        let Some(old) = self.take() else { return };
        let size = match self.random.below(3) {
            // Small steps, as of a vector that is cut to its length.
            0 => (old.size + self.random.below(64)).saturating_sub(32).max(1),
            1 => (old.size / 2 + self.random.below(8)).max(1),
            _ => self.random.size().max(1),
        };
        // SAFETY: a live block, its layout, and a size above 0 that fits.
        let (new, credited) = unsafe {
            match old.layout {
                Some(layout) => S::reallocate(old.ptr, layout, size),
                None => S::realloc(old.ptr, size),
            }
        };
        assert!(credited.is_none_or(|credited| credited == old.charged), "{credited:?} for {old:?} to {size}");
        assert!(!new.ptr.is_null());
        // SAFETY: the block has at least that many bytes.
        unsafe { holds(new.ptr, old.size.min(size), old.content, "resized") };
        let layout = old.layout.map(|layout| Layout::from_size_align(size, layout.align()).unwrap());
        self.keep(new, layout, layout.map_or(1, |layout| layout.align()), size, false);
    }

    fn free(&mut self) {
        let Some(old) = self.take() else { return };
        let end = match self.random.below(4) {
            0 => End::Alone,
            1 => End::Charged,
            _ => End::ByLayout,
        };
        // SAFETY: a live block, which is not used again; `free` takes blocks of both faces.
        let credited = unsafe { S::end(end, old.ptr, old.layout) };
        assert!(credited.is_none_or(|credited| credited == old.charged), "{credited:?} for {old:?}");
    }

    fn keep(&mut self, new: Given, layout: Option<Layout>, alignment: usize, size: usize, zeroed: bool) {
        assert!(
            !new.ptr.is_null() && new.ptr.addr().is_multiple_of(alignment),
            "{new:?} for {size} aligned to {alignment}"
        );
        // SAFETY: a live block; all usable bytes may be written.
        unsafe {
            if zeroed {
                holds(new.ptr, size, 0, "zeroed");
            }
            let usable = S::Backend::usable_size(new.ptr);
            assert!(usable >= size, "{usable} of {size}");
            let content = self.random.below(256) as u8;
            new.ptr.write_bytes(content, usable);
            let block = Block { ptr: new.ptr, layout, size, usable, charged: new.charged, content };
            block.is_intact::<S::Backend>();
            self.blocks.push(block);
        }
    }

    fn take(&mut self) -> Option<Block> {
        if self.blocks.is_empty() {
            return None;
        }
        let at = self.random.below(self.blocks.len());
        let block = self.blocks.swap_remove(at);
        block.is_intact::<S::Backend>();
        Some(block)
    }
}

impl Block {
    fn is_intact<B: Backend>(&self) {
        // SAFETY: a live block.
        unsafe {
            holds(self.ptr, self.usable, self.content, "kept");
            assert_eq!(B::charged_size(self.ptr), self.charged, "{}: {self:?}", B::NAME);
            if let Some(layout) = self.layout {
                assert_eq!(B::charged_size_of(self.ptr, layout), self.charged, "{}: {self:?}", B::NAME);
            }
            assert_eq!(B::usable_size(self.ptr), self.usable, "{}: {self:?}", B::NAME);
        }
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} of {} bytes, {:?}, charged {}", self.ptr, self.size, self.layout, self.charged)
    }
}

/// Looks at all bytes of a small block, and at both ends of a large one.
///
/// # Safety
/// The bytes are readable.
unsafe fn holds(ptr: *const u8, length: usize, content: u8, what: &str) {
    const ENDS: usize = 4096;
    // SAFETY: the caller's contract.
    let bytes = unsafe { std::slice::from_raw_parts(ptr, length) };
    let (first, last) = (&bytes[..length.min(ENDS)], &bytes[length.saturating_sub(ENDS)..]);
    assert!(first.iter().chain(last).all(|&byte| byte == content), "{what}: {length} bytes at {ptr:?} changed");
}

/// xorshift64: the same program for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 16) as usize % bound
    }

    /// Mostly small, sometimes 0, rarely several MiB.
    fn size(&mut self) -> usize {
        let bound = match self.below(100) {
            0..30 => 33,
            30..75 => 1100,
            75..92 => 20_000,
            92..99 => 300_000,
            _ => 5 << 20,
        };
        self.below(bound)
    }

    /// 1 to 64 KiB; half of the time what most types have.
    fn alignment(&mut self) -> usize {
        if self.below(2) == 0 { 8 } else { 1 << self.below(17) }
    }
}

/// An allocator that gives as little as it may: addresses aligned to no more than was asked for, dirty memory, and a
/// panic where a block comes back with another layout.
enum Odd {}

impl Odd {
    /// The block around one of this layout, and where that starts in it.
    fn whole(layout: Layout) -> Option<(Layout, usize)> {
        let before = if layout.align() < 16 { 16 + layout.align().max(8) } else { layout.align() };
        Some((Layout::from_size_align(before + layout.size(), layout.align().max(16)).ok()?, before))
    }
}

// SAFETY: blocks lie within blocks of std's `System`, after the layout they were asked with; it calls no heap of ours.
unsafe impl PlainAllocator for Odd {
    const NAME: &'static str = "odd";

    unsafe fn allocate(layout: Layout) -> *mut u8 {
        let Some((whole, before)) = Odd::whole(layout) else { return std::ptr::null_mut() };
        // SAFETY: sizes above 0; the block starts with two words.
        unsafe {
            let start = std::alloc::System.alloc(whole);
            if start.is_null() {
                return start;
            }
            start.write_bytes(0xa5, whole.size().min(1 << 16));
            start.cast::<[usize; 2]>().write([layout.size(), layout.align()]);
            start.add(before)
        }
    }

    unsafe fn deallocate(ptr: *mut u8, layout: Layout) {
        let (whole, before) = Odd::whole(layout).unwrap();
        // SAFETY: what `allocate` gave for this layout.
        unsafe {
            let start = ptr.sub(before);
            assert_eq!(start.cast::<[usize; 2]>().read(), [layout.size(), layout.align()]);
            std::alloc::System.dealloc(start, whole);
        }
    }
}
