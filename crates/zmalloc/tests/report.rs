//! A report of a heap that is at rest, so that its figures must fit each other. The heap is not the program's
//! allocator, and this is the only test of the process: nothing else moves the ledger.

mod common;

use std::alloc::{GlobalAlloc, Layout};
use zmalloc::ledger::Detailed;
use zmalloc::{Report, Zmalloc};

static HEAP: Zmalloc<zmalloc::heap::DefaultBackend, Detailed> = Zmalloc::new();

const BLOCK: Layout = Layout::new::<[u8; 100_001]>();
const BLOCKS: usize = 200;

#[test]
fn figures_are_ordered() {
    let before = HEAP.report();
    assert_eq!((before.used, before.requested(), &before.details), (0, None, &None));
    assert_ordered(&before);

    // SAFETY: the layout has a size, and each block is written within it and given back with it.
    let blocks: Vec<_> = (0..BLOCKS).map(|_| unsafe { HEAP.alloc_zeroed(BLOCK) }).collect();
    for &block in &blocks {
        assert!(!block.is_null());
        // SAFETY: as above.
        unsafe { block.write_bytes(7, BLOCK.size()) };
    }
    let held = HEAP.report().with_private_dirty();
    assert_ordered(&held);
    assert_eq!(held.requested(), Some((BLOCKS * BLOCK.size()) as u64));
    assert!(held.used >= BLOCKS * BLOCK.size());
    assert_eq!(held.details.unwrap().blocks_live(), BLOCKS as u64);
    assert_eq!(held.threads.unwrap_or(1), 1);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let (slack, touched) = (4 << 20, BLOCKS * BLOCK.size());
        assert!(held.rss.unwrap() + slack >= before.rss.unwrap() + touched, "{before}{held}");
        assert!(
            held.private_dirty.unwrap() + slack >= touched && held.private_dirty <= held.rss.map(|rss| rss + slack)
        );
        assert!(held.fragmentation_bytes().unwrap() + slack as i64 > 0);
    }

    for block in blocks {
        // SAFETY: as above.
        unsafe { HEAP.dealloc(block, BLOCK) };
    }
    let after = HEAP.report();
    assert_ordered(&after);
    assert_eq!((after.used, after.requested()), (0, Some(0)));
    assert!(after.peak >= held.used && after.allocated_total == held.allocated_total);
    assert_eq!(after.details, Report::now().details);

    taking_one_allocates_nothing();
    texts_show_the_figures_taken(&held);
}

fn assert_ordered(report: &Report) {
    assert_eq!(report.used as u64, report.allocated_total - report.freed_total, "{report}");
    assert!(report.used <= report.peak, "{report}");
    assert!(report.requested().unwrap_or(0) <= report.used as u64, "{report}");
    let statistics = report.allocator.expect("asked for").statistics;
    let pages = [Some(report.used), statistics.allocated, statistics.active, statistics.resident];
    assert!(pages.iter().flatten().is_sorted(), "{report}");
}

fn taking_one_allocates_nothing() {
    let taken = || (HEAP.report().with_private_dirty(), Report::now());
    assert_eq!(common::allocations_of(taken), 0);
}

fn texts_show_the_figures_taken(report: &Report) {
    let info = report.to_info();
    assert!(info.starts_with(&format!("# Memory\r\nused_memory:{}\r\n", report.used)), "{info}");
    assert!(report.to_string().contains(&format!(" {} bytes\n", report.used)), "{report}");
}
