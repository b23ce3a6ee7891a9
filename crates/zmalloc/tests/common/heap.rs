//! Blocks of a heap that are counted by the test as well, and the backends that there are.
#![allow(dead_code, reason = "each test uses a part")]

use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use zmalloc::Zmalloc;
use zmalloc::backend::Backend;

/// Calls a generic function for each backend that was built.
#[macro_export]
macro_rules! over_every_backend {
    ($scenario:ident) => {
        $scenario::<zmalloc::backend::Libc>();
        $scenario::<zmalloc::backend::SizePrefix<zmalloc::backend::PlainLibc>>();
        #[cfg(feature = "jemalloc")]
        $scenario::<zmalloc::backend::Jemalloc>();
        #[cfg(feature = "mimalloc")]
        $scenario::<zmalloc::backend::Mimalloc>();
        #[cfg(feature = "snmalloc")]
        $scenario::<zmalloc::backend::Snmalloc>();
        #[cfg(feature = "tcmalloc")]
        $scenario::<zmalloc::backend::Tcmalloc>();
        #[cfg(any(target_vendor = "apple", feature = "apple-stand-in"))]
        $scenario::<zmalloc::backend::Apple>();
    };
}

/// The charges of all live blocks: after they were given out, and until before they are taken back.
pub static LIVE: AtomicUsize = AtomicUsize::new(0);
/// The most that `LIVE` ever was.
pub static MOST: AtomicUsize = AtomicUsize::new(0);

fn count(charged: usize) {
    MOST.fetch_max(LIVE.fetch_add(charged, SeqCst) + charged, SeqCst);
}

/// A block, freed where it is dropped.
pub struct Block<B: Backend> {
    ptr: *mut u8,
    pub charged: usize,
    of: PhantomData<B>,
}

// SAFETY: raw memory, freed by whoever has it.
unsafe impl<B: Backend> Send for Block<B> {}

impl<B: Backend> Block<B> {
    pub const HEAP: Zmalloc<B> = Zmalloc::new();

    /// By `try_malloc`.
    pub fn new(size: usize) -> Option<Self> {
        Self::of(Self::HEAP.try_malloc(size))
    }

    pub fn zeroed(size: usize) -> Option<Self> {
        Self::of(Self::HEAP.try_calloc(size))
    }

    pub fn aligned(alignment: usize, size: usize) -> Option<Self> {
        Self::of(Self::HEAP.try_malloc_aligned(alignment, size))
    }

    /// What a call answered.
    pub fn of(ptr: *mut u8) -> Option<Self> {
        if ptr.is_null() {
            return None;
        }
        // SAFETY: a live block; its charge is asked of the backend, not of the ledger.
        let charged = unsafe { B::charged_size(ptr) };
        count(charged);
        Some(Block { ptr, charged, of: PhantomData })
    }

    /// False if that was refused.
    pub fn resize(&mut self, size: usize) -> bool {
        LIVE.fetch_sub(self.charged, SeqCst);
        // SAFETY: a live block and a size above 0.
        let resized = unsafe { Self::HEAP.try_realloc(self.ptr, size) };
        if !resized.is_null() {
            self.ptr = resized;
            // SAFETY: a live block.
            self.charged = unsafe { B::charged_size(resized) };
        }
        count(self.charged);
        !resized.is_null()
    }

    /// Has its pages in RAM.
    pub fn touch(&self, size: usize) {
        // SAFETY: it was made with that many bytes.
        unsafe { self.ptr.write_bytes(1, size) };
    }
}

impl<B: Backend> Drop for Block<B> {
    fn drop(&mut self) {
        LIVE.fetch_sub(self.charged, SeqCst);
        // SAFETY: a live block, freed once.
        unsafe { Self::HEAP.free(self.ptr) };
    }
}

/// What blocks of that size are charged, the first of which may be special.
pub fn charge_of<B: Backend>(size: usize) -> usize {
    drop(Block::<B>::new(size));
    Block::<B>::new(size).expect("there is room for it").charged
}

/// xorshift64*.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}
