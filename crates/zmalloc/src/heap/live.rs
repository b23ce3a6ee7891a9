//! Whether the ledger really sees this program's allocations.

use std::alloc::{Layout, alloc, dealloc};

/// Whether the program's Rust allocations go through a heap of ours: allocates a few blocks as any Rust code does, and
/// looks whether the ledger noticed every one.
///
/// False means that no `#[global_allocator]` of ours is linked: a crate that declares one but that nothing else names
/// may have been dropped by the linker.
///
/// Never false when they do, since the sum of allocated bytes only grows; true when they do not only if other threads
/// allocate as much through a heap of ours during each of several attempts. Cost: a few allocations of 64 KiB.
pub fn is_global_allocator() -> bool {
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
    (0..ATTEMPTS).all(|_| noticed())
}
