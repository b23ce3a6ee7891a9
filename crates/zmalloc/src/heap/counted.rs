//! The three events of a block's life, each counted in one place.
//!
//! Over a backend that counts per thread, the usual path is one test and then a tail call into the backend. Over any
//! other, a free is counted before it is made, so that it ends in a tail call as well.

use crate::backend::Backend;
use crate::ledger::{self, Counting, Detail, TotalsOnly};
use core::alloc::Layout;

/// How a block is called for, and so how its charge is found and what is counted as requested for it.
pub(super) trait Shape<B: Backend>: Copy {
    /// The bytes to charge for a block.
    ///
    /// # Safety
    /// `ptr` is a live block of this shape.
    unsafe fn charged(self, ptr: *const u8) -> usize;

    /// As `charged`, or `None` if telling would take a call.
    ///
    /// # Safety
    /// As `charged`.
    unsafe fn charged_at_hand(self, ptr: *const u8) -> Option<usize>;

    /// The bytes to count as requested, for a block that is charged with so many.
    fn requested(self, charged: usize) -> usize;

    /// Takes a block back that is charged with so many bytes.
    ///
    /// # Safety
    /// `ptr` is a live block of this shape.
    unsafe fn free(self, ptr: *mut u8, charged: usize);
}

/// Rust's shape.
impl<B: Backend> Shape<B> for Layout {
    #[inline(always)]
    unsafe fn charged(self, ptr: *const u8) -> usize {
        // SAFETY: the caller's contract is the callee's.
        unsafe { B::charged_size_of(ptr, self) }
    }

    #[inline(always)]
    unsafe fn charged_at_hand(self, ptr: *const u8) -> Option<usize> {
        // SAFETY: the caller's contract is the callee's.
        unsafe { B::charged_at_hand(ptr, self) }
    }

    #[inline(always)]
    fn requested(self, _: usize) -> usize {
        self.size()
    }

    #[inline(always)]
    unsafe fn free(self, ptr: *mut u8, _: usize) {
        // SAFETY: the caller's contract is the callee's.
        unsafe { B::deallocate(ptr, self) }
    }
}

/// C's shape, which does not tell the size again at free: the charge counts as requested.
#[derive(Clone, Copy)]
pub(super) struct Untold;

impl<B: Backend> Shape<B> for Untold {
    #[inline(always)]
    unsafe fn charged(self, ptr: *const u8) -> usize {
        // SAFETY: the caller's contract is the callee's.
        unsafe { B::charged_size(ptr) }
    }

    #[inline(always)]
    unsafe fn charged_at_hand(self, ptr: *const u8) -> Option<usize> {
        // SAFETY: the caller's contract is the callee's.
        Some(unsafe { B::charged_size(ptr) })
    }

    #[inline(always)]
    fn requested(self, charged: usize) -> usize {
        charged
    }

    #[inline(always)]
    unsafe fn free(self, ptr: *mut u8, charged: usize) {
        // SAFETY: the caller's contract is the callee's.
        unsafe { B::free_charged(ptr, charged) }
    }
}

/// Counts the block that `allocate` gives out for a shape.
#[inline(always)]
pub(super) fn allocation<B: Backend, D: Detail, S: Shape<B>>(shape: S, allocate: impl FnOnce(S) -> *mut u8) -> *mut u8 {
    if !may_count::<B, D>() {
        return charge::<B, D, S>(shape, allocate(shape));
    }
    if ledger::backend_counts() { allocate(shape) } else { cold::allocation::<B, S>(shape, allocate) }
}

/// Counts and frees a block.
///
/// # Safety
/// `ptr` is a live block of this shape.
#[inline(always)]
pub(super) unsafe fn free<B: Backend, D: Detail, S: Shape<B>>(shape: S, ptr: *mut u8, free: impl FnOnce()) {
    // SAFETY: the caller's contract is the callees'.
    unsafe {
        if !may_count::<B, D>() {
            match shape.charged_at_hand(ptr) {
                Some(charged) if ledger::try_credit::<D>(shape.requested(charged), charged) => shape.free(ptr, charged),
                _ => cold::credit_and_free::<B, D, S>(shape, ptr),
            }
        } else if ledger::backend_counts() {
            free();
        } else {
            cold::free::<B, S>(shape, ptr);
        }
    }
}

/// Counts the resize of `ptr`, of one shape, to what `reallocate` answers, of another.
///
/// # Safety
/// `ptr` is a live block of the shape `before`.
#[inline(always)]
pub(super) unsafe fn reallocation<B: Backend, D: Detail, S: Shape<B>>(
    before: S,
    after: S,
    ptr: *mut u8,
    reallocate: impl FnOnce() -> *mut u8,
) -> *mut u8 {
    if may_count::<B, D>() {
        if ledger::backend_counts() {
            return reallocate();
        }
        // SAFETY: the caller's contract is the callee's.
        return unsafe { cold::reallocation::<B, S>(before, after, ptr, reallocate) };
    }
    // SAFETY: the caller's contract is the callee's.
    unsafe { recharge::<B, D, S>(before, after, ptr, reallocate) }
}

#[inline(always)]
fn charge<B: Backend, D: Detail, S: Shape<B>>(shape: S, ptr: *mut u8) -> *mut u8 {
    if !ptr.is_null() {
        // SAFETY: a block that was just given out.
        let charged = unsafe { shape.charged(ptr) };
        ledger::charge::<D>(shape.requested(charged), charged);
    }
    ptr
}

/// # Safety
/// `ptr` is a live block of the shape `before`.
#[inline(always)]
unsafe fn recharge<B: Backend, D: Detail, S: Shape<B>>(
    before: S,
    after: S,
    ptr: *mut u8,
    reallocate: impl FnOnce() -> *mut u8,
) -> *mut u8 {
    // SAFETY: the caller's contract is the callee's.
    let credited = unsafe { before.charged(ptr) };
    let resized = reallocate();
    if !resized.is_null() {
        // The new charge first: the sum of what was freed never runs ahead of what was allocated.
        charge::<B, D, S>(after, resized);
        ledger::credit::<D>(before.requested(credited), credited);
    }
    resized
}

/// Whether the backend's own counters may be the ledger.
const fn may_count<B: Backend, D: Detail>() -> bool {
    cfg!(ledger_slots) && B::COUNTS_PER_THREAD && D::TOTALS_ONLY
}

/// A thread's first operations and its last ones, and blocks whose charge takes a call.
mod cold {
    use super::{Backend, Counting, Detail, Shape, TotalsOnly, ledger};

    #[cold]
    #[inline(never)]
    pub(super) unsafe fn credit_and_free<B: Backend, D: Detail, S: Shape<B>>(shape: S, ptr: *mut u8) {
        // SAFETY: the caller's contract is the callee's.
        let charged = unsafe { shape.charged(ptr) };
        ledger::credit::<D>(shape.requested(charged), charged);
        // SAFETY: the caller's contract is the callee's.
        unsafe { shape.free(ptr, charged) };
    }

    #[cold]
    #[inline(never)]
    pub(super) fn allocation<B: Backend, S: Shape<B>>(shape: S, allocate: impl FnOnce(S) -> *mut u8) -> *mut u8 {
        match ledger::begin_backend::<B>() {
            Counting::Backend => allocate(shape),
            Counting::Ledger => super::charge::<B, TotalsOnly, S>(shape, allocate(shape)),
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) unsafe fn free<B: Backend, S: Shape<B>>(shape: S, ptr: *mut u8) {
        let counting = ledger::begin_backend::<B>();
        // SAFETY: the caller's contract is the callees'.
        unsafe {
            let charged = shape.charged(ptr);
            if counting == Counting::Ledger {
                ledger::credit::<TotalsOnly>(0, charged);
            }
            shape.free(ptr, charged);
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) unsafe fn reallocation<B: Backend, S: Shape<B>>(
        before: S,
        after: S,
        ptr: *mut u8,
        reallocate: impl FnOnce() -> *mut u8,
    ) -> *mut u8 {
        match ledger::begin_backend::<B>() {
            Counting::Backend => reallocate(),
            // SAFETY: the caller's contract is the callee's.
            Counting::Ledger => unsafe { super::recharge::<B, TotalsOnly, S>(before, after, ptr, reallocate) },
        }
    }
}
