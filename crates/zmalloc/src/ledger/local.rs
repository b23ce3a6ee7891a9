//! What a thread keeps for itself: where its slot is, and how far it is in its life.
//!
//! Reached with one load and one segment-relative access even inside a shared object, where `thread_local!` would call
//! `__tls_get_addr`: the variable lies in the initial-exec thread-local block. Where that is not available, or with
//! the feature `portable-thread-local`, it is a `thread_local!` without a destructor.

use super::slot::{NOBODYS, Slot};
use core::cell::Cell;
use core::sync::atomic::AtomicUsize;

/// A thread's own part of the ledger; small enough to fit the space that the loader keeps for objects loaded late.
#[repr(C, align(16))]
pub(crate) struct Local {
    /// Where this thread counts without being asked: its slot, or [`NOBODYS`], which has every operation take the cold path.
    pub(crate) slot: Cell<*const Slot>,
    pub(crate) stage: Cell<Stage>,
    /// Each allocation is to be asked for, whatever the limit; see `ask::ask_always`.
    pub(crate) asks_always: Cell<bool>,
    unused: [u8; 5],
    /// The ledger reads the backend's own counters of this thread. The highest byte of the second word, which is then
    /// above every address, and otherwise below those of blocks: see `zfree` in `zmalloc.h`.
    pub(crate) backend_counts: Cell<bool>,
    /// Where the backend counts: requests below this need not be asked for. Changed with the pool's lock held, also by
    /// other threads.
    pub(crate) unasked_below: AtomicUsize,
    /// The slot of this thread, or [`NOBODYS`].
    pub(crate) own: Cell<*const Slot>,
}

/// How far a thread is in its life with the ledger.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Not seen yet.
    New = 0,
    /// Being registered: what registering itself allocates must not register again.
    Registering = 1,
    /// Owns a slot.
    Live = 2,
    /// Gave its slot back, or could not get one.
    Slotless = 3,
}

#[cfg(all(target_os = "linux", target_arch = "x86_64", not(any(miri, feature = "portable-thread-local"))))]
mod place {
    use super::{Local, NOBODYS, Slot};
    use core::mem::offset_of;

    core::arch::global_asm!(
        ".pushsection .tdata.zmalloc_local_0_1,\"awT\",@progbits",
        ".globl zmalloc_local_0_1",
        ".hidden zmalloc_local_0_1",
        ".type zmalloc_local_0_1, @object",
        ".size zmalloc_local_0_1, 32",
        ".p2align 4",
        "zmalloc_local_0_1:",
        // `Local::slot`, then `Stage::New`, no and no, and that everything is to be asked for; `Local::own`.
        ".quad {nobodys}",
        ".zero 16",
        ".quad {nobodys}",
        ".popsection",
        nobodys = sym NOBODYS,
    );

    const _: () = assert!(size_of::<Local>() == 32 && align_of::<Local>() == 16 && offset_of!(Local, own) == 24);
    // The C header's inline calls read them there.
    const _: () = assert!(offset_of!(Local, backend_counts) == 15 && offset_of!(Local, unasked_below) == 16);

    #[inline(always)]
    pub(super) fn get() -> *const Local {
        crate::initial_exec_address!("zmalloc_local_0_1").cast_const().cast()
    }

    /// `Local::slot`, without the detour over the address.
    #[inline(always)]
    pub(super) fn slot() -> *const Slot {
        let slot: *const Slot;
        // SAFETY: the symbol is defined above as initial-exec thread-local storage; the field lies at the offset given.
        unsafe {
            core::arch::asm!(
                "mov {slot}, qword ptr [rip + zmalloc_local_0_1@GOTTPOFF]",
                "mov {slot}, qword ptr fs:[{slot} + {offset}]",
                slot = out(reg) slot,
                offset = const offset_of!(Local, slot),
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        slot
    }

    /// `Local::backend_counts`, without the detour over the address.
    #[inline(always)]
    pub(super) fn backend_counts() -> bool {
        // SAFETY: as in `slot`. The jump leaves the block for the label alone.
        unsafe {
            core::arch::asm!(
                "mov {place}, qword ptr [rip + zmalloc_local_0_1@GOTTPOFF]",
                "cmp byte ptr fs:[{place} + {offset}], 0",
                "je {no}",
                place = out(reg) _,
                offset = const offset_of!(Local, backend_counts),
                no = label { return false },
                options(readonly, nostack),
            );
        }
        true
    }

    /// Whether `size` is below `Local::unasked_below`, without the detour over the address.
    #[inline(always)]
    pub(super) fn is_unasked(size: usize) -> bool {
        // SAFETY: as in `slot`. The jump leaves the block for the label alone.
        unsafe {
            core::arch::asm!(
                "mov {place}, qword ptr [rip + zmalloc_local_0_1@GOTTPOFF]",
                "cmp {size}, qword ptr fs:[{place} + {offset}]",
                "jae {no}",
                place = out(reg) _,
                size = in(reg) size,
                offset = const offset_of!(Local, unasked_below),
                no = label { return false },
                options(readonly, nostack),
            );
        }
        true
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", not(any(miri, feature = "portable-thread-local")))))]
mod place {
    use super::{AtomicUsize, Cell, Local, NOBODYS, Slot, Stage};
    use core::sync::atomic::Ordering;

    std::thread_local! {
        static LOCAL: Local = const {
            Local {
                slot: Cell::new(&NOBODYS),
                stage: Cell::new(Stage::New),
                asks_always: Cell::new(false),
                unused: [0; 5],
                backend_counts: Cell::new(false),
                unasked_below: AtomicUsize::new(0),
                own: Cell::new(&NOBODYS),
            }
        };
    }

    #[inline(always)]
    pub(super) fn get() -> *const Local {
        // Without a destructor, this never fails and never allocates.
        LOCAL.with(|local| local as *const Local)
    }

    #[inline(always)]
    pub(super) fn slot() -> *const Slot {
        LOCAL.with(|local| local.slot.get())
    }

    #[inline(always)]
    pub(super) fn backend_counts() -> bool {
        LOCAL.with(|local| local.backend_counts.get())
    }

    #[inline(always)]
    pub(super) fn is_unasked(size: usize) -> bool {
        LOCAL.with(|local| size < local.unasked_below.load(Ordering::Relaxed))
    }
}

/// The calling thread's part.
#[inline(always)]
pub(crate) fn local<'thread>() -> &'thread Local {
    // SAFETY: the address is this thread's own storage, initialised as above, and lives as
    // long as the thread does. `Local` is not `Sync`, so the reference stays in the thread.
    unsafe { &*place::get() }
}

/// Where the calling thread counts without being asked; see [`Local::slot`].
#[inline(always)]
pub(crate) fn slot_or_nobodys() -> &'static Slot {
    // SAFETY: always a slot, which is valid as long as the process lives.
    unsafe { &*place::slot() }
}

/// The calling thread's slot, if it has one.
#[inline(always)]
pub(crate) fn own_slot() -> Option<&'static Slot> {
    // SAFETY: always a slot, which is valid as long as the process lives.
    let own = unsafe { &*local().own.get() };
    Some(own).filter(|&slot| !core::ptr::eq(slot, &NOBODYS))
}

/// Whether the backend counts the calling thread's operations.
#[inline(always)]
pub(crate) fn backend_counts() -> bool {
    place::backend_counts()
}

/// Whether the backend counts the calling thread's operations, and a request of `size` bytes needs not be asked for.
#[inline(always)]
pub(crate) fn is_unasked(size: usize) -> bool {
    place::is_unasked(size)
}
