//! What jemalloc says of its arenas and bins, if it keeps figures at all.

use super::Jemalloc;
use super::control::{self, ALL_ARENAS, Entry, figure};
use crate::backend::Statistics;

/// The figures of one arena, or of all together, in bytes.
///
/// Freshness: as of the last refresh. Order: `allocated <= active <= resident`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArenaStatistics {
    /// Bytes in blocks handed out, those in thread caches included.
    pub allocated: usize,
    /// Bytes in pages that hold at least one block.
    pub active: usize,
    /// Bytes in pages in RAM, metadata and dirty pages included.
    pub resident: usize,
    /// Bytes of slabs of small blocks that no block uses: what moving blocks together could free.
    pub small_unused: usize,
}

/// An arena of jemalloc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arena {
    /// All arenas together.
    All,
    /// One, by its index.
    Index(u32),
}

impl Arena {
    fn index(self) -> usize {
        match self {
            Arena::All => ALL_ARENAS,
            Arena::Index(index) => index as usize,
        }
    }
}

impl Jemalloc {
    /// Brings jemalloc's figures up to date. They are taken together, so what is read until the next refresh fits
    /// together. Cost: 10 to 50 us, and 4 us for each thread. False if jemalloc keeps none.
    pub fn refresh_statistics() -> bool {
        control::refresh() && figure(c"stats.allocated").is_some()
    }

    /// The figures of all arenas as of the last refresh. Nothing is known without the feature `jemalloc-statistics`.
    pub fn statistics_of_refresh() -> Statistics {
        let page = page_size();
        Statistics {
            allocated: figure(c"stats.allocated"),
            active: figure(c"stats.active"),
            resident: figure(c"stats.resident"),
            retained: figure(c"stats.retained"),
            muzzy: figure(c"stats.arenas.4096.pmuzzy").map(|pages| pages * page),
        }
    }

    /// The figures of an arena as of the last refresh; `None` if there is no such arena, or without the feature
    /// `jemalloc-statistics`. Cost: about 20 us.
    pub fn arena_statistics(arena: Arena) -> Option<ArenaStatistics> {
        let mut arenas = 0u32;
        // One beyond the last is another name for all.
        if matches!(arena, Arena::Index(index) if !control::read(c"arenas.narenas", &mut arenas) || index >= arenas) {
            return None;
        }
        let of = |name| Some(Entry::<4>::find(name)?.at(2, arena.index()));
        let small_and_large = |name| Some(Entry::<5>::find(name)?.at(2, arena.index()));
        let small: usize = small_and_large(c"stats.arenas.0.small.allocated")?.read()?;
        let large: usize = small_and_large(c"stats.arenas.0.large.allocated")?.read()?;
        let active: usize = of(c"stats.arenas.0.pactive")?.read()?;
        let resident: usize = of(c"stats.arenas.0.resident")?.read()?;
        let mut small_unused = 0;
        for_each_bin(arena, |bin| small_unused += bin.unused_blocks() * bin.block_bytes);
        Some(ArenaStatistics { allocated: small + large, active: active * page_size(), resident, small_unused })
    }

    /// Whether jemalloc's own threads give pages back in the background. False if it cannot, as on musl.
    pub fn set_background_threads(enabled: bool) -> bool {
        control::write(c"background_thread", enabled)
    }

    /// Gives the calling thread's cached blocks back to their slabs.
    pub fn flush_thread_cache() -> bool {
        control::run(c"thread.tcache.flush")
    }
}

/// One size class of small blocks, in one arena or all together, as of the last refresh.
#[derive(Clone, Copy, Default)]
pub(super) struct Bin {
    pub(super) block_bytes: usize,
    pub(super) blocks_per_slab: usize,
    pub(super) blocks: usize,
    pub(super) slabs: usize,
    pub(super) slabs_not_full: usize,
}

impl Bin {
    /// Places for blocks that no block has.
    fn unused_blocks(&self) -> usize {
        (self.slabs * self.blocks_per_slab).saturating_sub(self.blocks)
    }

    /// Blocks in slabs that have places left.
    pub(super) fn blocks_in_slabs_not_full(&self) -> usize {
        self.blocks.saturating_sub(self.slabs.saturating_sub(self.slabs_not_full) * self.blocks_per_slab)
    }
}

/// Asks for each bin in turn, smallest blocks first; for none if jemalloc keeps no figures.
pub(super) fn for_each_bin(arena: Arena, mut look: impl FnMut(Bin)) {
    let mut all = || {
        let mut bins = 0u32;
        if !control::read(c"arenas.nbins", &mut bins) {
            return None;
        }
        let of_class = |name| Entry::<4>::find(name);
        let of_arena = |name| Some(Entry::<6>::find(name)?.at(2, arena.index()));
        let (size, per_slab) = (of_class(c"arenas.bin.0.size")?, of_class(c"arenas.bin.0.nregs")?);
        let blocks = of_arena(c"stats.arenas.0.bins.0.curregs")?;
        let slabs = of_arena(c"stats.arenas.0.bins.0.curslabs")?;
        let not_full = of_arena(c"stats.arenas.0.bins.0.nonfull_slabs")?;
        for bin in 0..bins as usize {
            look(Bin {
                block_bytes: size.at(2, bin).read()?,
                blocks_per_slab: per_slab.at(2, bin).read::<u32>()? as usize,
                blocks: blocks.at(4, bin).read()?,
                slabs: slabs.at(4, bin).read()?,
                slabs_not_full: not_full.at(4, bin).read()?,
            });
        }
        Some(())
    };
    let _ = all();
}

fn page_size() -> usize {
    figure(c"arenas.page").unwrap_or(0)
}
