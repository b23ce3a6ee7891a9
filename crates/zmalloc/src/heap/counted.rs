//! The three events of a block's life, each counted in one place.
//!
//! Over a backend that counts per thread, the usual path is one test and then a tail call into the backend. Over any
//! other, a free is counted before it is made, so that it ends in a tail call as well.

use crate::backend::Backend;
use crate::ledger::{self, Counting, Detail};
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
    if !may_count::<B>() {
        return charge::<B, S>(shape, allocate(shape), ledger::charge::<D>);
    }
    if ledger::backend_counts() {
        return charge_details::<B, D, S>(shape, allocate(shape));
    }
    cold::allocation::<B, D, S>(shape, allocate)
}

/// Counts and frees a block.
///
/// # Safety
/// `ptr` is a live block of this shape.
#[inline(always)]
pub(super) unsafe fn free<B: Backend, D: Detail, S: Shape<B>>(shape: S, ptr: *mut u8, free: impl FnOnce()) {
    // SAFETY: the caller's contract is the callees'.
    unsafe {
        if !may_count::<B>() {
            match shape.charged_at_hand(ptr) {
                Some(charged) if ledger::try_credit::<D>(shape.requested(charged), charged) => shape.free(ptr, charged),
                _ => cold::credit_and_free::<B, D, S>(shape, ptr),
            }
        } else if !ledger::backend_counts() {
            cold::free::<B, D, S>(shape, ptr);
        } else if D::TOTALS_ONLY {
            free();
        } else {
            let charged = shape.charged(ptr);
            ledger::credit_details::<D>(shape.requested(charged), charged);
            shape.free(ptr, charged);
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
    // SAFETY: the caller's contract is the callees'.
    unsafe {
        if !may_count::<B>() {
            recharge::<B, D, S>(before, after, ptr, reallocate)
        } else if ledger::backend_counts() {
            recharge_details::<B, D, S>(before, after, ptr, reallocate)
        } else {
            cold::reallocation::<B, D, S>(before, after, ptr, reallocate)
        }
    }
}

/// Hands the figures of a new block to `count`.
#[inline(always)]
fn charge<B: Backend, S: Shape<B>>(shape: S, ptr: *mut u8, count: impl FnOnce(usize, usize)) -> *mut u8 {
    if !ptr.is_null() {
        // SAFETY: a block that was just given out.
        let charged = unsafe { shape.charged(ptr) };
        count(shape.requested(charged), charged);
    }
    ptr
}

/// Where the backend counts the totals: counts the rest of a new block.
#[inline(always)]
fn charge_details<B: Backend, D: Detail, S: Shape<B>>(shape: S, ptr: *mut u8) -> *mut u8 {
    if D::TOTALS_ONLY { ptr } else { charge::<B, S>(shape, ptr, ledger::charge_details::<D>) }
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
        // The old charge first, which was counted long ago: otherwise the peak would have the block twice.
        ledger::credit::<D>(before.requested(credited), credited);
        charge::<B, S>(after, resized, ledger::charge::<D>);
    }
    resized
}

/// Where the backend counts the totals: counts the rest of a resized block.
///
/// # Safety
/// `ptr` is a live block of the shape `before`.
#[inline(always)]
unsafe fn recharge_details<B: Backend, D: Detail, S: Shape<B>>(
    before: S,
    after: S,
    ptr: *mut u8,
    reallocate: impl FnOnce() -> *mut u8,
) -> *mut u8 {
    if D::TOTALS_ONLY {
        return reallocate();
    }
    // SAFETY: the caller's contract is the callee's.
    let credited = unsafe { before.charged(ptr) };
    let resized = reallocate();
    if !resized.is_null() {
        charge_details::<B, D, S>(after, resized);
        ledger::credit_details::<D>(before.requested(credited), credited);
    }
    resized
}

/// Whether the backend's own counters may be the ledger's totals.
const fn may_count<B: Backend>() -> bool {
    cfg!(ledger_slots) && B::COUNTS_PER_THREAD
}

/// A thread's first operations and its last ones, and blocks whose charge takes a call.
mod cold {
    use super::{Backend, Counting, Detail, Shape, ledger};

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
    pub(super) fn allocation<B: Backend, D: Detail, S: Shape<B>>(
        shape: S,
        allocate: impl FnOnce(S) -> *mut u8,
    ) -> *mut u8 {
        match ledger::begin_backend::<B>() {
            Counting::Backend => super::charge_details::<B, D, S>(shape, allocate(shape)),
            Counting::Ledger => super::charge::<B, S>(shape, allocate(shape), ledger::charge::<D>),
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) unsafe fn free<B: Backend, D: Detail, S: Shape<B>>(shape: S, ptr: *mut u8) {
        let counting = ledger::begin_backend::<B>();
        // SAFETY: the caller's contract is the callees'.
        unsafe {
            let charged = shape.charged(ptr);
            let requested = shape.requested(charged);
            match counting {
                Counting::Backend => ledger::credit_details::<D>(requested, charged),
                Counting::Ledger => ledger::credit::<D>(requested, charged),
            }
            shape.free(ptr, charged);
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) unsafe fn reallocation<B: Backend, D: Detail, S: Shape<B>>(
        before: S,
        after: S,
        ptr: *mut u8,
        reallocate: impl FnOnce() -> *mut u8,
    ) -> *mut u8 {
        // SAFETY: the caller's contract is the callees'.
        unsafe {
            match ledger::begin_backend::<B>() {
                Counting::Backend => super::recharge_details::<B, D, S>(before, after, ptr, reallocate),
                Counting::Ledger => super::recharge::<B, D, S>(before, after, ptr, reallocate),
            }
        }
    }
}
