//! jemalloc beneath: it counts each thread's usable bytes itself, so the size of a block given out or taken back is by how
//! much a counter moved, which spares two look-ups per block.
//!
//! What the counters moved by since this thread was last here is counted with the block at hand. So a call of ours inside
//! one of ours, or of jemalloc's own `operator new`, is counted once as well.

use super::next::Next;
use core::ffi::{CStr, c_void};
use core::ptr::null_mut;

/// A thread's counters, and how far they are counted.
#[repr(C)]
struct Counters {
    /// Null until the thread's first call; then jemalloc's, readable as long as the thread lives.
    allocated: *const u64,
    freed: *const u64,
    allocated_seen: u64,
    freed_seen: u64,
}

core::arch::global_asm!(
    ".pushsection .tbss.zmalloc_preload_counters,\"awT\",@nobits",
    ".globl zmalloc_preload_counters",
    ".hidden zmalloc_preload_counters",
    ".type zmalloc_preload_counters, @object",
    ".size zmalloc_preload_counters, 32",
    ".p2align 3",
    "zmalloc_preload_counters:",
    ".zero 32",
    ".popsection",
);

const _: () = assert!(size_of::<Counters>() == 32);

/// The calling thread's.
#[derive(Clone, Copy)]
pub(super) struct Own(*mut Counters);

#[inline(always)]
pub(super) fn own() -> Own {
    Own(zmalloc::initial_exec_address!("zmalloc_preload_counters").cast())
}

/// Asks jemalloc where the calling thread's counters are. What it did before is not counted.
#[cold]
pub(super) fn find(next: &Next) -> bool {
    let address = |name: &CStr| {
        let mut address: *const u64 = core::ptr::null();
        let mut length = size_of::<*const u64>();
        // SAFETY: the name ends with 0, and jemalloc writes a pointer or refuses.
        let code = next
            .mallctl
            .map(|mallctl| unsafe { mallctl(name.as_ptr(), (&raw mut address).cast(), &mut length, null_mut(), 0) });
        (code == Some(0) && !address.is_null()).then_some(address)
    };
    let (Some(allocated), Some(freed)) = (address(c"thread.allocatedp"), address(c"thread.deallocatedp")) else {
        return false;
    };
    // SAFETY: jemalloc's counters of this thread, and the thread's own place for them.
    unsafe { *own().0 = Counters { allocated, freed, allocated_seen: *allocated, freed_seen: *freed } };
    true
}

/// Whether the counters move as sizes say, for the thread that starts.
pub(super) fn hold(next: &Next) -> bool {
    let Some(usable_size) = next.usable_size.filter(|_| find(next)) else { return false };
    [1, 100, 5000, 100_000].into_iter().all(|size| {
        // SAFETY: a new block, freed once.
        unsafe {
            let block = (next.malloc)(size);
            if block.is_null() {
                return false;
            }
            let usable = usable_size(block);
            let given = own().given();
            (next.free)(block);
            given == usable && own().taken() == usable
        }
    })
}

impl Own {
    /// Whether they are known.
    #[inline(always)]
    pub(super) fn are_known(self) -> bool {
        // SAFETY: the thread's own.
        unsafe { !(*self.0).allocated.is_null() }
    }

    /// The bytes that the thread was given since it was last asked. The counters are known.
    #[inline(always)]
    pub(super) fn given(self) -> usize {
        // SAFETY: the thread's own, and jemalloc's counter.
        unsafe {
            let own = &mut *self.0;
            let now = own.allocated.read_volatile();
            let given = now.wrapping_sub(own.allocated_seen);
            own.allocated_seen = now;
            given as usize
        }
    }

    /// The bytes that the thread gave back since it was last asked. The counters are known.
    #[inline(always)]
    pub(super) fn taken(self) -> usize {
        // SAFETY: the thread's own, and jemalloc's counter.
        unsafe {
            let own = &mut *self.0;
            let now = own.freed.read_volatile();
            let taken = now.wrapping_sub(own.freed_seen);
            own.freed_seen = now;
            taken as usize
        }
    }
}

/// jemalloc's `mallctl`.
pub(super) type Mallctl =
    unsafe extern "C" fn(*const core::ffi::c_char, *mut c_void, *mut usize, *mut c_void, usize) -> core::ffi::c_int;
