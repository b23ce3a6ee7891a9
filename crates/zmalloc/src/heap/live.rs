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

/// Allocates a few blocks as any Rust code does, and looks whether the ledger noticed every one.
///
/// Never `NotLive` when it is live, since the sum of allocated bytes only grows; `Live` when it is not only if other
/// threads allocate as much through a heap of ours during each of several attempts. Cost: a few allocations of 64 KiB.
pub fn is_global_allocator() -> Liveness {
    const ATTEMPTS: usize = 8;
    let layout = Layout::new::<[u8; 1 << 16]>();
    let noticed = || {
        let before = crate::ledger::totals().allocated_bytes;
        // SAFETY: the size is above 0, and the block is given back with its layout.
        let block = core::hint::black_box(unsafe { alloc(layout) });
        let after = crate::ledger::totals().allocated_bytes;
        if !block.is_null() {
            // SAFETY: the block that was just allocated.
            unsafe { dealloc(block, layout) };
        }
        block.is_null() || after.wrapping_sub(before) >= layout.size() as u64
    };
    if (0..ATTEMPTS).all(|_| noticed()) { Liveness::Live } else { Liveness::NotLive }
}
