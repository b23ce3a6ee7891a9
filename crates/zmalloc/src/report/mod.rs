//! The figures put together: the ledger's, the allocator's and the kernel's, taken at one moment.
//!
//! ```
//! use zmalloc::{Zmalloc, backend::Libc};
//!
//! static HEAP: Zmalloc<Libc> = Zmalloc::new();
//! let report = HEAP.report();
//! println!("{report}");
//! if report.fragmentation_ratio().is_some_and(|ratio| ratio > 1.5) {
//!     println!("{} bytes in RAM beyond what is used", report.fragmentation_bytes().unwrap_or(0));
//! }
//! ```

pub(crate) mod human;
mod info;
mod open_metrics;
mod overhead;
#[cfg(feature = "serde")]
pub(crate) mod serialize;
mod table;

#[cfg(target_has_atomic = "64")]
pub(crate) use open_metrics::open_metrics;
pub use open_metrics::{MetricFamily, MetricKind, MetricSample};
pub use overhead::Overhead;

use crate::backend::{Backend, Statistics, Version};
use crate::heap::Zmalloc;
use crate::ledger::{self, ClassTotals, Details};
use crate::process::{self, MemorySize};

/// What a program holds, and what that costs the machine. Sizes are in bytes; what is not known is `None`.
///
/// Freshness: each figure is as fresh as the call that made the report, but they are read one after the other, in the
/// order of the fields, so figures of a program at work need not fit each other exactly.
///
/// Order, at rest, where all are known, and if every block comes from the allocator named in the report:
/// `requested <= used <= peak`, `used <= allocated <= active <= resident` with the allocator's figures, and
/// `used` is `allocated_total - freed_total`, always. `rss` may be below `used`, as pages that were never touched
/// or are swapped out are not in RAM.
///
/// Taking a report allocates nothing, so it does not move what it measures; a text made of it may allocate, after. It
/// takes about 20 KiB of stack, three times that in a build without optimization: 4 KiB are the report's own.
///
/// As text: [`Display`](core::fmt::Display) is a table for people, [`to_info`](Report::to_info) one for programs that
/// read Redis's `INFO`, [`to_open_metrics`](Report::to_open_metrics) one for Prometheus. With the tree of scopes in it:
/// [`with_scopes`](Report::with_scopes).
///
/// # Serialized
///
/// With the feature `serde`, a map of always the same keys, with a null for what is not known:
///
/// | key | is |
/// |---|---|
/// | `used`, `peak`, `allocated_total`, `freed_total`, `threads`, `rss`, `private_dirty` | the fields |
/// | `requested` | [`requested`](Report::requested) |
/// | `fragmentation_ratio`, `fragmentation_bytes` | the methods |
/// | `allocator` | null, or a map of `name`, `version`, and the keys of [`Statistics`] |
/// | `memory_size` | a map of `physical`, `cgroup_limit`, and `effective` |
/// | `details` | null, or a map of `blocks_allocated`, `blocks_live`, and `classes` |
///
/// `classes` lists the size classes that were ever used, each a map of `limit` (its largest block; null for the class
/// without an upper end), `blocks_allocated`, `bytes_allocated`, `blocks_freed`, `bytes_freed`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Bytes the program holds: [`used_memory`](ledger::used_memory).
    pub used: usize,
    /// The most it ever held, at least `used`: [`peak_memory`](ledger::peak_memory), which may miss a little.
    pub peak: usize,
    /// Bytes of all blocks ever handed out. Only grows.
    pub allocated_total: u64,
    /// Bytes of all blocks ever taken back. Only grows.
    pub freed_total: u64,
    /// Threads alive that have allocated or freed; `None` where the ledger does not tell threads apart, in its two
    /// slower ways.
    pub threads: Option<usize>,
    /// What a heap with more [detail](ledger::Detail) has counted; `None` if there is no such heap or it was not used.
    pub details: Option<Details>,
    /// The allocator and its own figures, in a report that was asked for one.
    pub allocator: Option<AllocatorReport>,
    /// The process's pages in RAM, whoever owns them: [`resident_bytes`](process::resident_bytes).
    pub rss: Option<usize>,
    /// Pages that are the process's alone and written to, in a report [with](Report::with_private_dirty) it.
    pub private_dirty: Option<usize>,
    /// The memory that the process may have.
    pub memory_size: MemorySize,
}

/// An allocator and what it says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AllocatorReport {
    /// Its name, like `jemalloc`.
    pub name: &'static str,
    /// The version linked or loaded.
    pub version: Version,
    /// Its page figures. They count every block of this allocator, so also those that bypass the ledger.
    pub statistics: Statistics,
}

impl Report {
    /// The figures of the program, whichever allocators it uses.
    ///
    /// Cost: about 40 us, most of it for the cgroup's limit, and a few for each thread.
    pub fn now() -> Report {
        Report::with_allocator(|| None)
    }

    /// As [`now`](Report::now), with the figures of the allocator `B`; jemalloc keeps its own only with the feature
    /// `jemalloc-statistics`.
    ///
    /// Cost: jemalloc's add 10 to 50 us, and 4 us for each thread.
    pub fn of<B: Backend>() -> Report {
        Report::with_allocator(|| {
            Some(AllocatorReport { name: B::NAME, version: B::version(), statistics: B::statistics() })
        })
    }

    /// The same report with the private dirty pages, read now.
    ///
    /// Cost: often 1 ms and more, since the kernel walks the page tables: see
    /// [`private_dirty_bytes`](process::private_dirty_bytes).
    #[must_use]
    pub fn with_private_dirty(self) -> Report {
        Report { private_dirty: process::private_dirty_bytes(None), ..self }
    }

    /// Bytes asked for by the blocks that live, which are at most the used ones; `None` unless a
    /// [`Detailed`](ledger::Detailed) heap has counted them. Blocks of other heaps are not in it.
    pub fn requested(&self) -> Option<u64> {
        let requested = self.details?.requested;
        (requested.allocated_bytes > 0).then(|| requested.live_bytes())
    }

    /// Resident set over used bytes: above 1 the program's pages are not full, or not all of them are the heap's;
    /// below 1 a part of the heap is swapped out or was never touched. `None` if nothing is used.
    pub fn fragmentation_ratio(&self) -> Option<f64> {
        self.fragmentation()?.ratio
    }

    /// Resident set minus used bytes.
    pub fn fragmentation_bytes(&self) -> Option<i64> {
        Some(self.fragmentation()?.bytes)
    }

    /// The resident set, over the used bytes.
    pub fn fragmentation(&self) -> Option<Overhead> {
        Overhead::of(self.rss, Some(self.used))
    }

    /// The allocator's active pages, over the blocks in them: bytes lost between blocks, which moving them could save.
    pub fn allocator_fragmentation(&self) -> Option<Overhead> {
        let statistics = self.allocator?.statistics;
        Overhead::of(statistics.active, statistics.allocated)
    }

    /// The allocator's resident pages, over the active ones: pages it keeps to reuse, which a purge could return.
    pub fn allocator_resident_overhead(&self) -> Option<Overhead> {
        let statistics = self.allocator?.statistics;
        Overhead::of(statistics.resident, statistics.active)
    }

    /// The resident set, over the allocator's resident pages: code, stacks, mapped files, other allocators.
    pub fn rss_overhead(&self) -> Option<Overhead> {
        Overhead::of(self.rss, self.allocator?.statistics.resident)
    }

    fn with_allocator(allocator: impl FnOnce() -> Option<AllocatorReport>) -> Report {
        let totals = ledger::totals();
        let used = totals.live_bytes() as usize;
        Report {
            used,
            // Blocks freed since the totals were read may be missing in a peak that is only looked at now and then.
            peak: ledger::peak_memory().max(used),
            allocated_total: totals.allocated_bytes,
            freed_total: totals.freed_bytes,
            threads: cfg!(ledger_slots).then(ledger::threads),
            details: Some(ledger::details()).filter(has_counted),
            allocator: allocator(),
            rss: process::resident_bytes(),
            private_dirty: None,
            memory_size: process::memory_size(),
        }
    }
}

impl<B: Backend, D> Zmalloc<B, D> {
    /// The program's figures with those of this heap's backend: [`Report::of`].
    pub fn report(&self) -> Report {
        Report::of::<B>()
    }
}

fn has_counted(details: &Details) -> bool {
    details.classes.iter().any(|class| *class != ClassTotals::default())
}

/// A report with a figure in every field.
#[cfg(all(test, not(loom)))]
fn example() -> Report {
    use ledger::{SIZE_CLASSES, Totals};

    const MIB: usize = 1 << 20;
    let mut classes = [ClassTotals::default(); SIZE_CLASSES];
    classes[1] = ClassTotals { blocks_allocated: 10, bytes_allocated: 160, blocks_freed: 4, bytes_freed: 64 };
    classes[SIZE_CLASSES - 1] = ClassTotals { blocks_allocated: 1, bytes_allocated: 1 << 40, ..Default::default() };
    Report {
        used: 100 * MIB,
        peak: 160 * MIB,
        allocated_total: 3 << 30,
        freed_total: (3 << 30) - (100 << 20),
        threads: Some(4),
        details: Some(Details {
            requested: Totals { allocated_bytes: 2 << 30, freed_bytes: (2 << 30) - (90 << 20) },
            classes,
        }),
        allocator: Some(AllocatorReport {
            name: "jemalloc",
            version: Version::new(b"5.3.1-0-g81034ce1"),
            statistics: Statistics {
                allocated: Some(104 * MIB),
                active: Some(130 * MIB),
                resident: Some(143 * MIB),
                retained: Some(8 * MIB),
                muzzy: Some(0),
            },
        }),
        rss: Some(150 * MIB),
        private_dirty: Some(140 * MIB + 4096),
        memory_size: MemorySize { physical: Some(16 << 30), cgroup_limit: Some(512 * MIB) },
    }
}

/// A report with none but the ledger's figures, of a program that has not allocated.
#[cfg(all(test, not(loom)))]
fn empty_example() -> Report {
    Report {
        used: 0,
        peak: 0,
        allocated_total: 0,
        freed_total: 0,
        threads: None,
        details: None,
        allocator: None,
        rss: None,
        private_dirty: None,
        memory_size: MemorySize::default(),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn derived_figures_follow_their_formulas() {
        let report = example();
        assert_eq!(report.requested(), Some(90 << 20));
        assert_eq!(report.fragmentation_ratio(), Some(1.5));
        assert_eq!(report.fragmentation_bytes(), Some(50 << 20));
        assert_eq!(report.allocator_fragmentation(), Some(Overhead { ratio: Some(1.25), bytes: 26 << 20 }));
        assert_eq!(report.allocator_resident_overhead(), Some(Overhead { ratio: Some(1.1), bytes: 13 << 20 }));
        assert_eq!(report.rss_overhead().map(|overhead| overhead.bytes), Some(7 << 20));
    }

    #[test]
    fn what_is_not_known_stays_so() {
        let report = empty_example();
        assert_eq!(
            (report.requested(), report.fragmentation_ratio(), report.fragmentation_bytes()),
            (None, None, None)
        );
        assert_eq!((report.allocator_fragmentation(), report.rss_overhead()), (None, None));
        let unused = Report { rss: Some(4096), ..report };
        assert_eq!((unused.fragmentation_ratio(), unused.fragmentation_bytes()), (None, Some(4096)));
        let swapped = Report { rss: Some(40 << 20), ..example() };
        assert_eq!((swapped.fragmentation_ratio(), swapped.fragmentation_bytes()), (Some(0.4), Some(-60 << 20)));
    }
}
