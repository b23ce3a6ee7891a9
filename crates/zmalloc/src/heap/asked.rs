//! Operations that are asked for before they are made: under a limit, those that are large and those of threads that were
//! given nothing ahead; and what is done before one is refused.

use super::counted::{self, Shape};
use super::oom;
use crate::backend::Backend;
use crate::ledger::{self, Detail, limit};
use crate::{budget, process};
use core::alloc::Layout;
use core::ptr::null_mut;

/// What an operation asks for.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) size: usize,
    pub(super) alignment: usize,
}

impl Asked {
    /// Without an alignment of its own.
    #[inline(always)]
    pub(super) const fn plain(size: usize) -> Asked {
        Asked { size, alignment: 1 }
    }

    #[inline(always)]
    pub(super) const fn of(layout: Layout) -> Asked {
        Asked { size: layout.size(), alignment: layout.align() }
    }

    /// What is compared with what needs not be asked for. With pages of more than 4 KiB an alignment makes more of a block
    /// than the margin.
    #[inline(always)]
    pub(super) fn gate(self) -> usize {
        if cfg!(target_arch = "x86_64") { self.size } else { self.size.max(self.alignment) }
    }

    /// Whether what the block is charged may be more than the margin of a thread.
    #[inline(always)]
    fn is_large(self) -> bool {
        self.size >= limit::LARGE || self.alignment > 16
    }
}

/// Where the ledger counts: whether an operation goes by this file.
#[inline(always)]
pub(super) fn is_before(asked: Asked) -> bool {
    if cfg!(ledger_slots) { asked.is_large() } else { ledger::is_armed() || ledger::asks_always() }
}

/// Where the ledger counts: whether an operation that is not large needs not be asked for.
#[inline(always)]
pub(super) fn has_room() -> bool {
    #[cfg(ledger_slots)]
    return ledger::has_room();
    #[cfg(not(ledger_slots))]
    true
}

/// Whether no scope of the calling thread refuses so many bytes more.
pub(super) fn is_allowed_here(bytes: usize) -> bool {
    #[cfg(target_has_atomic = "64")]
    if ledger::asks_always() {
        return crate::scope::admits_here(bytes);
    }
    let _ = bytes;
    true
}

/// Whether anything may be refused to the calling thread.
fn is_free_of_limits() -> bool {
    !ledger::is_armed() && !ledger::asks_always()
}

/// Takes bytes of the limit, which [`ledger::charge_admitted`] or [`ledger::land`] gives back.
fn admit(bytes: usize) -> bool {
    is_allowed_here(bytes) && (ledger::admit(bytes) || budget::reclaim(bytes, &mut || ledger::admit(bytes)))
}

/// Where the ledger counts.
#[cold]
#[inline(never)]
pub(super) fn allocation<B: Backend, D: Detail, S: Shape<B>>(
    shape: S,
    asked: Asked,
    allocate: impl Fn(S) -> *mut u8,
) -> *mut u8 {
    let count_all = is_free_of_limits();
    // The charge is known when the block is: until then what is asked for stands for it.
    let admitted = if count_all { 0 } else { asked.size };
    if !count_all && !admit(admitted) {
        return refused::<B, S>(asked.size);
    }
    let ptr = or_after_reclaiming::<B, S>(asked, || allocate(shape));
    if ptr.is_null() {
        ledger::land(admitted);
        return ptr;
    }
    // SAFETY: a block that was just given out.
    unsafe {
        let charged = shape.charged(ptr);
        let requested = shape.requested(charged);
        if count_all {
            ledger::charge::<D>(requested, charged);
        } else if !ledger::charge_admitted::<D>(admitted, requested, charged) {
            return charge_or_free::<B, D, S>(ptr, requested, charged);
        }
    }
    ptr
}

/// Counts a block that the limit had no room for, if there is some after reclaiming; or frees it and answers null.
///
/// # Safety
/// `ptr` is a live block that is charged so many bytes.
#[cold]
pub(super) unsafe fn charge_or_free<B: Backend, D: Detail, S: Shape<B>>(
    ptr: *mut u8,
    requested: usize,
    charged: usize,
) -> *mut u8 {
    let mut charge = || is_allowed_here(charged) && ledger::charge_admitted::<D>(0, requested, charged);
    if is_allowed_here(charged) && budget::reclaim(charged, &mut charge) {
        return ptr;
    }
    // SAFETY: the caller's contract.
    unsafe { B::free_charged(ptr, charged) };
    refused::<B, S>(charged)
}

/// Where the ledger counts: a resize of a block that is charged `credited`. What it becomes is asked for while the block is
/// still counted as it is.
///
/// # Safety
/// `ptr` is a live block of the shape `before`, charged so much.
#[cold]
#[inline(never)]
pub(super) unsafe fn reallocation<B: Backend, D: Detail, S: Shape<B>>(
    before: S,
    credited: usize,
    after: S,
    asked: Asked,
    ptr: *mut u8,
    reallocate: impl Fn() -> *mut u8,
) -> *mut u8 {
    let reallocate = || or_after_reclaiming::<B, S>(asked, &reallocate);
    if is_free_of_limits() {
        return counted::recharge::<B, S>(
            before,
            credited,
            after,
            reallocate,
            ledger::credit::<D>,
            ledger::charge::<D>,
        );
    }
    // SAFETY: a live block.
    let usable = if B::CHARGES_USABLE_SIZE { credited } else { unsafe { B::usable_size(ptr) } };
    if asked.size <= usable {
        // Not refused; and nobody else is given the old bytes before the new ones are counted.
        let resized = reallocate();
        if !resized.is_null() {
            // SAFETY: a live block of this shape.
            let charged = unsafe { after.charged(resized) };
            let (old, new) = ((before.requested(credited), credited), (after.requested(charged), charged));
            ledger::recharge_unasked::<D>(old, new);
        }
        return resized;
    }
    let bytes = B::charge_at_most(asked.size, asked.alignment);
    if !admit(bytes) {
        return refused::<B, S>(asked.size);
    }
    let charge = |requested, charged| {
        debug_assert!(charged <= bytes, "{} charges {charged} of at most {bytes}", B::NAME);
        if !ledger::charge_admitted::<D>(bytes, requested, charged) {
            ledger::charge::<D>(requested, charged);
        }
    };
    let resized = counted::recharge::<B, S>(before, credited, after, reallocate, ledger::credit::<D>, charge);
    if resized.is_null() {
        ledger::land(bytes);
    }
    resized
}

/// Where the backend counts.
pub(super) fn allocation_beneath<B: Backend, D: Detail, S: Shape<B>>(
    shape: S,
    asked: Asked,
    allocate: impl Fn(S) -> *mut u8,
) -> *mut u8 {
    if !admit_beneath::<B>(asked) {
        return refused::<B, S>(asked.size);
    }
    let ptr = or_after_reclaiming::<B, S>(asked, || allocate(shape));
    ledger::settle_backend();
    counted::charge_details::<B, D, S>(shape, ptr)
}

/// Where the backend counts: a resize. It counts what the block becomes before it takes the old one back, so both are asked
/// for; but one to less is not refused.
///
/// # Safety
/// `ptr` is a live block of the shape `before`.
pub(super) unsafe fn reallocation_beneath<B: Backend, D: Detail, S: Shape<B>>(
    before: S,
    after: S,
    asked: Asked,
    ptr: *mut u8,
    reallocate: impl Fn() -> *mut u8,
) -> *mut u8 {
    // SAFETY: the caller's contract is the callees'.
    unsafe {
        if asked.size > before.charged(ptr) && !admit_beneath::<B>(asked) {
            return refused::<B, S>(asked.size);
        }
        let reallocate = || or_after_reclaiming::<B, S>(asked, &reallocate);
        let resized = counted::recharge_details::<B, D, S>(before, after, ptr, reallocate);
        ledger::settle_backend();
        resized
    }
}

fn admit_beneath<B: Backend>(asked: Asked) -> bool {
    if is_free_of_limits() {
        // Sees to it that the thread need not ask again.
        return ledger::admit_backend(0);
    }
    let bytes = B::charge_at_most(asked.size, asked.alignment);
    let mut admit = || ledger::admit_backend(bytes);
    is_allowed_here(bytes) && (admit() || budget::reclaim(bytes, &mut admit))
}

/// What the backend answers, and if it has no memory, what it answers after reclaiming.
fn or_after_reclaiming<B: Backend, S: Shape<B>>(asked: Asked, allocate: impl Fn() -> *mut u8) -> *mut u8 {
    let mut ptr = allocate();
    if ptr.is_null() && asked.size <= isize::MAX as usize {
        let mut again = || {
            ptr = allocate();
            !ptr.is_null()
        };
        // What is unused is at most what is in RAM.
        let may_purge = || process::resident_bytes().is_some_and(|resident| resident >= asked.size);
        if budget::reclaim(asked.size, &mut again) || (may_purge() && B::purge() && again()) {
            return ptr;
        }
        return refused::<B, S>(asked.size);
    }
    ptr
}

/// The answer where nothing is given out.
fn refused<B: Backend, S: Shape<B>>(bytes: usize) -> *mut u8 {
    if S::IS_RUSTS {
        oom::remember(bytes);
    }
    null_mut()
}
