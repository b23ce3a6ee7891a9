//! Whether the ledger really sees this program's allocations.

use std::alloc::{Layout, alloc, dealloc};

/// What [`is_global_allocator`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Rust's allocations in this program go through a heap of ours.
    Live,
    /// They go elsewhere: no `#[global_allocator]` of ours is linked. A crate that declares one but that nothing else
    /// names may have been dropped by the linker.
    NotLive,
}

/// Allocates a block as any Rust code does, and looks whether the ledger noticed.
///
/// The answer is certain while no other thread allocates, and otherwise wrong only if others hide the block for
/// several attempts in a row. Cost: a few allocations.
pub fn is_global_allocator() -> Liveness {
    const ATTEMPTS: usize = 8;
    // Rare enough that other threads hardly ever free exactly as much meanwhile.
    let layout = Layout::from_size_align(0x5A_4D41, 1).expect("a size below isize::MAX");
    for _ in 0..ATTEMPTS {
        let before = crate::ledger::totals();
        // SAFETY: the size is above 0, and the block is given back with its layout.
        let block = unsafe { alloc(layout) };
        let after = crate::ledger::totals();
        if block.is_null() {
            continue;
        }
        let block = core::hint::black_box(block);
        // SAFETY: the block that was just allocated.
        unsafe { dealloc(block, layout) };
        if after.allocated_bytes.wrapping_sub(before.allocated_bytes) >= layout.size() as u64 {
            return Liveness::Live;
        }
    }
    Liveness::NotLive
}
