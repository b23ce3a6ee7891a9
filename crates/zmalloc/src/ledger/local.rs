//! What a thread keeps for itself: where its slot is, and how far it is in its life.
//!
//! Reached with one load and one segment-relative access even inside a shared object, where `thread_local!` would call
//! `__tls_get_addr`: the variable lies in the initial-exec thread-local block. Where that is not available, or with
//! the feature `portable-thread-local`, it is a `thread_local!` without a destructor.

use super::slot::{NOBODYS, Slot};
use core::cell::Cell;

/// A thread's own part of the ledger; small enough to fit the space that the loader keeps for objects loaded late.
#[repr(C, align(16))]
pub(crate) struct Local {
    /// The slot of this thread, or [`NOBODYS`].
    pub(crate) slot: Cell<*const Slot>,
    /// The ledger reads the backend's own counters of this thread.
    pub(crate) backend_counts: Cell<bool>,
    pub(crate) stage: Cell<Stage>,
    /// The pool's lock is held, or waited for, by this thread.
    pub(crate) busy: Cell<bool>,
    /// A signal handler of this thread forks inside a section that holds the lock.
    pub(crate) forks_within: Cell<bool>,
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
        ".size zmalloc_local_0_1, 16",
        ".p2align 4",
        "zmalloc_local_0_1:",
        // `Local::slot`, then `Stage::New` and three times no.
        ".quad {nobodys}",
        ".zero 8",
        ".popsection",
        nobodys = sym NOBODYS,
    );

    const _: () = assert!(size_of::<Local>() == 16 && align_of::<Local>() == 16);

    #[inline(always)]
    pub(super) fn get() -> *const Local {
        let local: *const Local;
        // SAFETY: the symbol is defined above as initial-exec thread-local storage of this size and alignment, and
        // `fs:0` holds the thread pointer by the x86-64 ABI. Reads only.
        unsafe {
            core::arch::asm!(
                "mov {local}, qword ptr fs:[0]",
                "add {local}, qword ptr [rip + zmalloc_local_0_1@GOTTPOFF]",
                local = out(reg) local,
                options(pure, readonly, nostack),
            );
        }
        local
    }

    /// `Local::slot`, without the detour over the address.
    #[inline(always)]
    pub(super) fn slot() -> *const Slot {
        let slot: *const Slot;
        // SAFETY: as in `get`; the field lies at the offset given.
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
        // SAFETY: as in `get`. The jump leaves the block for the label alone.
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
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", not(any(miri, feature = "portable-thread-local")))))]
mod place {
    use super::{Cell, Local, NOBODYS, Slot, Stage};

    std::thread_local! {
        static LOCAL: Local = const {
            Local {
                slot: Cell::new(&NOBODYS),
                backend_counts: Cell::new(false),
                stage: Cell::new(Stage::New),
                busy: Cell::new(false),
                forks_within: Cell::new(false),
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
}

/// The calling thread's part.
#[inline(always)]
pub(crate) fn local<'thread>() -> &'thread Local {
    // SAFETY: the address is this thread's own storage, initialised as above, and lives as
    // long as the thread does. `Local` is not `Sync`, so the reference stays in the thread.
    unsafe { &*place::get() }
}

/// The calling thread's slot, or [`NOBODYS`].
#[inline(always)]
pub(crate) fn slot_or_nobodys() -> &'static Slot {
    // SAFETY: always a slot, which is valid as long as the process lives.
    unsafe { &*place::slot() }
}

/// The calling thread's slot, if it has one.
#[inline(always)]
pub(crate) fn own_slot() -> Option<&'static Slot> {
    Some(slot_or_nobodys()).filter(|&slot| !core::ptr::eq(slot, &NOBODYS))
}

/// Whether the backend counts the calling thread's operations.
#[inline(always)]
pub(crate) fn backend_counts() -> bool {
    place::backend_counts()
}
