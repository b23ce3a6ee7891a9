//! Which blocks keep sparse slabs alive: what defragmentation asks, of a jemalloc without patches.

use super::Jemalloc;
use super::statistics::{Arena, Bin, for_each_bin};
use core::ffi::c_void;
use core::ptr::null;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use tikv_jemalloc_sys as sys;

/// jemalloc's `inspect_extent_util_stats_verbose_t`.
#[repr(C)]
struct Utilization {
    current_slab: *const u8,
    free_blocks: usize,
    blocks: usize,
    slab_bytes: usize,
    bin_free_blocks: usize,
    bin_blocks: usize,
}

impl Jemalloc {
    /// Whether moving this block to a new place is likely to help to free its slab: the slab has places left, new
    /// blocks do not come from it anyway, and it is at most 9/8 as full as the slabs of its size class that have
    /// places left are on average. That is the rule of Redis's patched jemalloc, from the unpatched one's own
    /// utilization query. Always false for large blocks, and without the feature `jemalloc-statistics`.
    ///
    /// The averages are those of the last look at all bins, which every 16384th call takes, and so does the first
    /// call after [`refresh_defragmentation`](Jemalloc::refresh_defragmentation).
    ///
    /// Cost: about 0.1 us and a lock of the bin; the look at all bins 100 us.
    ///
    /// # Safety
    /// `ptr` is a live block of jemalloc.
    pub unsafe fn is_in_sparse_slab(ptr: *const u8) -> bool {
        // SAFETY: the caller's contract is the callee's.
        let Some(slab) = (unsafe { query(ptr) }) else { return false };
        let is_current =
            slab.current_slab.addr() <= ptr.addr() && ptr.addr() - slab.current_slab.addr() < slab.slab_bytes;
        if slab.free_blocks == 0 || slab.bin_blocks == 0 || is_current {
            return false;
        }
        look_again_in_turn();
        // SAFETY: a live block.
        let block_bytes = unsafe { sys::sallocx(ptr.cast(), 0) };
        let (slabs, blocks) = Average::of(block_bytes).figures();
        // A single one has nowhere to move its blocks; nor is it known where to if there was none at the last look.
        slabs >= 2 && (slab.blocks - slab.free_blocks) * slabs <= blocks + blocks / 8
    }

    /// Has the next question for a sparse slab look at all bins anew: at the start of a round of defragmentation.
    pub fn refresh_defragmentation() {
        ASKED.store(0, Ordering::Relaxed);
    }
}

/// # Safety
/// `ptr` is a live block of jemalloc.
unsafe fn query(ptr: *const u8) -> Option<Utilization> {
    let mut answer = Utilization {
        current_slab: null(),
        free_blocks: 0,
        blocks: 0,
        slab_bytes: 0,
        bin_free_blocks: 0,
        bin_blocks: 0,
    };
    let mut asked: *const c_void = ptr.cast();
    let mut length = size_of::<Utilization>();
    let name = c"experimental.utilization.query";
    // SAFETY: the name ends with 0; jemalloc checks both sizes, and looks the block up without touching it.
    let known = unsafe {
        let (answer, asked) = ((&raw mut answer).cast(), (&raw mut asked).cast());
        sys::mallctl(name.as_ptr(), answer, &mut length, asked, size_of::<*const c_void>()) == 0
    };
    // A block of its own pages has no slab to share.
    (known && answer.blocks > 1).then_some(answer)
}

/// How full the slabs of one size class that have places left are, over all arenas.
struct Average {
    block_bytes: AtomicUsize,
    slabs: AtomicUsize,
    blocks: AtomicUsize,
}

/// As many as any configuration of jemalloc has bins: it has at most 4 sizes to a doubling up to 14 KiB, and 16
/// quanta.
const BINS: usize = 64;

static AVERAGES: [Average; BINS] = [const { Average::unknown() }; BINS];

impl Average {
    const fn unknown() -> Average {
        Average { block_bytes: AtomicUsize::new(0), slabs: AtomicUsize::new(0), blocks: AtomicUsize::new(0) }
    }

    fn of(block_bytes: usize) -> &'static Average {
        static NONE: Average = Average::unknown();
        // Ascending and few: bins beyond the last hold 0.
        AVERAGES.iter().find(|average| average.block_bytes.load(Ordering::Relaxed) == block_bytes).unwrap_or(&NONE)
    }

    /// Slabs that have places left, and the blocks in them. One of a thread that looks meanwhile may be newer.
    fn figures(&self) -> (usize, usize) {
        (self.slabs.load(Ordering::Relaxed), self.blocks.load(Ordering::Relaxed))
    }

    fn set(&self, bin: &Bin) {
        self.slabs.store(bin.slabs_not_full, Ordering::Relaxed);
        self.blocks.store(bin.blocks_in_slabs_not_full(), Ordering::Relaxed);
        self.block_bytes.store(bin.block_bytes, Ordering::Relaxed);
    }
}

/// Questions since the last look at all bins.
static ASKED: AtomicU32 = AtomicU32::new(0);

fn look_again_in_turn() {
    /// At 0.1 us each, a look that takes 100 us is a small part.
    const QUESTIONS: u32 = 1 << 14;
    if ASKED.fetch_add(1, Ordering::Relaxed).is_multiple_of(QUESTIONS) {
        look_again();
    }
}

#[cold]
fn look_again() {
    Jemalloc::refresh_statistics();
    let mut averages = AVERAGES.iter();
    for_each_bin(Arena::All, |bin| {
        if let Some(average) = averages.next() {
            average.set(&bin);
        }
    });
}
