//! What a thread keeps for itself: where its slot is, and how far it is in its life.
//!
//! Reached with one load and one segment-relative access even inside a shared object, where `thread_local!` would call
//! `__tls_get_addr`: the variable lies in the initial-exec thread-local block. Where that is not available, or with
//! the feature `portable-thread-local`, it is a `thread_local!` without a destructor.

use super::slot::Slot;
use core::cell::Cell;

/// A thread's own part of the ledger. All zeros is a thread that the ledger has not seen yet, and small enough (56
/// bytes) to fit the space that the loader keeps for objects loaded late.
#[repr(C, align(64))]
pub(crate) struct Local {
    /// The slot of this thread, or null.
    pub(crate) slot: Cell<*const Slot>,
    /// The backend's own counter of allocated bytes, or null.
    pub(crate) backend_allocated: Cell<*const u64>,
    /// The backend's own counter of freed bytes, or null.
    pub(crate) backend_freed: Cell<*const u64>,
    /// The value of the backend's counter from which on an allocation takes the cold path. 0 unless the ledger reads
    /// the backend's counters of this thread, so that one comparison also asks that.
    pub(crate) trip: Cell<u64>,
    pub(crate) stage: Cell<Stage>,
    /// The pool's lock is held, or waited for, by this thread.
    pub(crate) busy: Cell<bool>,
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

#[cfg(all(target_os = "linux", target_arch = "x86_64", not(any(miri, loom, feature = "portable-thread-local"))))]
mod place {
    use super::{Local, Slot};

    core::arch::global_asm!(
        ".pushsection .tbss.zmalloc_local_0_1,\"awT\",@nobits",
        ".globl zmalloc_local_0_1",
        ".hidden zmalloc_local_0_1",
        ".type zmalloc_local_0_1, @object",
        ".size zmalloc_local_0_1, 64",
        ".p2align 6",
        "zmalloc_local_0_1:",
        ".zero 64",
        ".popsection",
    );

    const _: () = assert!(size_of::<Local>() == 64 && align_of::<Local>() == 64);

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

    const _: () = assert!(core::mem::offset_of!(Local, slot) == 0);

    #[inline(always)]
    pub(super) fn slot() -> *const Slot {
        let slot: *const Slot;
        // SAFETY: as in `get`; the slot lies at the variable's start.
        unsafe {
            core::arch::asm!(
                "mov {slot}, qword ptr [rip + zmalloc_local_0_1@GOTTPOFF]",
                "mov {slot}, qword ptr fs:[{slot}]",
                slot = out(reg) slot,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        slot
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", not(any(miri, loom, feature = "portable-thread-local")))))]
mod place {
    use super::{Cell, Local, Slot, Stage};

    std::thread_local! {
        static LOCAL: Local = const {
            Local {
                slot: Cell::new(core::ptr::null()),
                backend_allocated: Cell::new(core::ptr::null()),
                backend_freed: Cell::new(core::ptr::null()),
                trip: Cell::new(0),
                stage: Cell::new(Stage::New),
                busy: Cell::new(false),
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
}

/// The calling thread's part.
#[inline(always)]
pub(crate) fn local<'thread>() -> &'thread Local {
    // SAFETY: the address is this thread's own storage, all zeros or written by this module's callers, and lives as
    // long as the thread does. `Local` is not `Sync`, so the reference stays in the thread.
    unsafe { &*place::get() }
}

/// The calling thread's slot, if it has one; an instruction less than by way of [`local`].
#[inline(always)]
pub(crate) fn slot() -> Option<&'static Slot> {
    // SAFETY: a thread's slot is null or valid as long as the process lives.
    unsafe { place::slot().as_ref() }
}
