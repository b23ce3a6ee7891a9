//! Memory for the calls that come while this library starts: looking up the allocator beneath may itself allocate.
//!
//! A few KiB in the object, handed out once: what comes back is not used again. Its blocks are not counted; whoever frees,
//! resizes or measures a block later recognises it by its address.

use crate::errno;
use crate::global::Global;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering};

const BYTES: usize = 64 << 10;
/// Alignment of any block, and what lies in front of it: its size.
const UNIT: usize = 16;

#[repr(C, align(4096))]
struct Memory([u8; BYTES]);

static MEMORY: Global<Memory> = Global::new(Memory([0; BYTES]));
static TAKEN: AtomicUsize = AtomicUsize::new(0);
/// Blocks that did not come back.
static LIVE: AtomicUsize = AtomicUsize::new(0);

/// A zeroed block, or null with `ENOMEM`.
#[cold]
pub(crate) fn allocate(alignment: usize, size: usize) -> *mut c_void {
    let alignment = alignment.max(UNIT);
    let block = (alignment.is_power_of_two() && alignment <= 4096 && size < BYTES).then(|| {
        let mut place = 0;
        let taken = TAKEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            place = (taken + UNIT + alignment - 1) & !(alignment - 1);
            let end = (place + size + UNIT - 1) & !(UNIT - 1);
            (end <= BYTES).then_some(end)
        });
        // SAFETY: `place` and the `size` bytes after it lie in the memory, `UNIT` bytes behind the last block's end,
        // and nobody else was given them.
        taken.ok().map(|_| unsafe {
            let block = MEMORY.get().cast::<u8>().add(place);
            block.sub(UNIT).cast::<usize>().write(size);
            LIVE.fetch_add(1, Ordering::Relaxed);
            block.cast::<c_void>()
        })
    });
    block.flatten().unwrap_or_else(|| {
        errno::set(libc::ENOMEM);
        null_mut()
    })
}

/// Whether `block` is one of ours.
#[inline(always)]
pub(crate) fn owns(block: *const c_void) -> bool {
    block.addr().wrapping_sub(MEMORY.get().addr()) < BYTES
}

/// A block of ours comes back.
#[cold]
pub(crate) fn take_back() {
    LIVE.fetch_sub(1, Ordering::Relaxed);
}

/// Whether any block is out, that may come back.
#[cfg_attr(
    any(feature = "jemalloc", feature = "mimalloc", feature = "snmalloc"),
    allow(dead_code, reason = "only forwarding has a mode without the arena")
)]
pub(crate) fn is_used() -> bool {
    LIVE.load(Ordering::Relaxed) != 0
}

/// # Safety
/// [`owns`] said yes, and it is the start of a block.
#[cold]
pub(crate) unsafe fn usable_size(block: *const c_void) -> usize {
    // SAFETY: `allocate` wrote the size there.
    unsafe { block.byte_sub(UNIT).cast::<usize>().read() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_apart_aligned_and_known() {
        let mut end = 0;
        for (alignment, size) in [(1, 1), (16, 0), (64, 100), (4096, 3), (16, 4000)] {
            let block = allocate(alignment, size);
            assert!(owns(block) && is_used());
            assert!(block.addr() >= end + UNIT && block.addr().is_multiple_of(alignment.max(UNIT)));
            // SAFETY: a block of the arena.
            assert_eq!(unsafe { usable_size(block) }, size);
            end = block.addr() + size;
        }
        (0..5).for_each(|_| take_back());
        assert!(!is_used());
        assert!(allocate(16, BYTES).is_null() && allocate(24, 8).is_null() && allocate(8192, 8).is_null());
        assert!(!owns((&raw const end).cast()) && !owns(core::ptr::null()));
    }
}
