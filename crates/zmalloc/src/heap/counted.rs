//! The three events of a block's life, each counted in one place.
//!
//! Over a backend that counts per thread, the usual path is one test and then a tail call into the backend. Over any
//! other, a free is counted before it is made, so that it ends in a tail call as well. What the ledger has to be asked for
//! first, since there may be a limit, goes by [`asked`].

use super::asked::{self, Asked};
use crate::backend::Backend;
use crate::ledger::{self, Counting, Detail};
use core::alloc::Layout;

/// How a block is called for, and so how its charge is found and what is counted as requested for it.
pub(super) trait Shape<B: Backend>: Copy {
    /// Whether `charge_ahead` may answer.
    const CHARGES_AHEAD: bool = false;
    /// Whether a refusal is for Rust's collections, which may abort for it.
    const IS_RUSTS: bool = false;

    /// The charge of a block of this shape that is yet to be given out, if it is at hand.
    #[inline(always)]
    fn charge_ahead(self) -> Option<usize> {
        None
    }

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
    const CHARGES_AHEAD: bool = B::CHARGES_AHEAD;
    const IS_RUSTS: bool = true;

    #[inline(always)]
    fn charge_ahead(self) -> Option<usize> {
        B::charge_ahead(self)
    }

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

/// C's shape where the caller tells the bytes that the block is charged with.
#[derive(Clone, Copy)]
pub(super) struct Told(pub(super) usize);

impl<B: Backend> Shape<B> for Told {
    #[inline(always)]
    unsafe fn charged(self, ptr: *const u8) -> usize {
        // SAFETY: the caller's contract is the callee's.
        debug_assert_eq!(self.0, unsafe { B::charged_size(ptr) }, "not the usable size of this block");
        self.0
    }

    #[inline(always)]
    unsafe fn charged_at_hand(self, ptr: *const u8) -> Option<usize> {
        // SAFETY: the caller's contract is the callee's.
        Some(unsafe { Shape::<B>::charged(self, ptr) })
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

/// Whether nothing has to be done for a free of this thread but the free: the backend counts it, and nobody wants details.
#[inline(always)]
pub(super) fn is_counted_beneath<B: Backend, D: Detail>() -> bool {
    may_count::<B>() && D::TOTALS_ONLY && ledger::backend_counts()
}

/// Counts the block that `allocate` gives out for a shape.
#[inline(always)]
pub(super) fn allocation<B: Backend, D: Detail, S: Shape<B>>(
    shape: S,
    asked: Asked,
    allocate: impl Fn(S) -> *mut u8,
) -> *mut u8 {
    if !may_count::<B>() {
        return allocation_in_ledger::<B, D, S>(shape, asked, allocate);
    }
    if ledger::is_unasked(asked.gate()) {
        return charge_details::<B, D, S>(shape, allocate(shape));
    }
    cold::allocation::<B, D, S>(shape, asked, allocate)
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
    asked: Asked,
    ptr: *mut u8,
    reallocate: impl Fn() -> *mut u8,
) -> *mut u8 {
    // SAFETY: the caller's contract is the callees'.
    unsafe {
        if !may_count::<B>() {
            reallocation_in_ledger::<B, D, S>(before, after, asked, ptr, reallocate)
        } else if ledger::is_unasked(asked.gate()) {
            recharge_details::<B, D, S>(before, after, ptr, reallocate)
        } else {
            cold::reallocation::<B, D, S>(before, after, asked, ptr, reallocate)
        }
    }
}

/// Counts a block where the ledger does.
#[inline(always)]
fn allocation_in_ledger<B: Backend, D: Detail, S: Shape<B>>(
    shape: S,
    asked: Asked,
    allocate: impl Fn(S) -> *mut u8,
) -> *mut u8 {
    // Where threads have slots, only what is large is asked for first, and no such layout tells its charge.
    if S::CHARGES_AHEAD
        && (cfg!(ledger_slots) || !asked::is_before(asked))
        && let Some(charged) = shape.charge_ahead()
    {
        return allocation_told_ahead::<B, D, S>(shape, charged, allocate);
    }
    if asked::is_before(asked) {
        return asked::allocation::<B, D, S>(shape, asked, allocate);
    }
    if S::CHARGES_AHEAD {
        return cold::allocation_looked_up::<B, D, S>(shape, allocate);
    }
    let ptr = allocate(shape);
    if ptr.is_null() {
        return ptr;
    }
    // SAFETY: a block that was just given out.
    match unsafe { shape.charged_at_hand(ptr) } {
        Some(charged) => charge_new::<B, D, S>(ptr, requested::<B, D, S>(shape, charged), charged),
        None if D::TOTALS_ONLY => cold::charge_looked_up::<B, D, Untold>(Untold, ptr),
        None => cold::charge_looked_up::<B, D, S>(shape, ptr),
    }
}

/// What is counted as requested. Where nobody wants to know, the charge stands for it, so that nothing more has to be kept
/// while the block is given out.
#[inline(always)]
fn requested<B: Backend, D: Detail, S: Shape<B>>(shape: S, charged: usize) -> usize {
    if D::TOTALS_ONLY { charged } else { shape.requested(charged) }
}

/// Counts a block whose charge the layout tells. It is looked up before the call, as what has to be kept across it is then
/// one number; counted after it, as it may be refused.
#[inline(always)]
fn allocation_told_ahead<B: Backend, D: Detail, S: Shape<B>>(
    shape: S,
    charged: usize,
    allocate: impl Fn(S) -> *mut u8,
) -> *mut u8 {
    let ptr = allocate(shape);
    if ptr.is_null() {
        return ptr;
    }
    charge_new::<B, D, S>(ptr, requested::<B, D, S>(shape, charged), charged)
}

/// Counts a block that was just given out, or gives it back if the limit has not so much: then null.
#[inline(always)]
fn charge_new<B: Backend, D: Detail, S: Shape<B>>(ptr: *mut u8, requested: usize, charged: usize) -> *mut u8 {
    #[cfg(ledger_slots)]
    if let Err(tried) = ledger::try_charge::<D>(requested, charged) {
        return cold::finish_charge::<B, D, S>(ptr, tried, requested, charged);
    }
    #[cfg(not(ledger_slots))]
    ledger::charge::<D>(requested, charged);
    ptr
}

/// Counts a resize where the ledger does.
///
/// # Safety
/// `ptr` is a live block of the shape `before`.
#[inline(always)]
unsafe fn reallocation_in_ledger<B: Backend, D: Detail, S: Shape<B>>(
    before: S,
    after: S,
    asked: Asked,
    ptr: *mut u8,
    reallocate: impl Fn() -> *mut u8,
) -> *mut u8 {
    // SAFETY: the caller's contract is the callees'.
    unsafe {
        let credited = before.charged(ptr);
        // It cannot be undone, so that a thread which may be refused is to ask first. A large block may stay as large.
        if asked::is_before(asked) || credited >= ledger::LARGE || !asked::has_room() {
            return asked::reallocation::<B, D, S>(before, credited, after, asked, ptr, reallocate);
        }
        recharge::<B, S>(before, credited, after, reallocate, ledger::credit::<D>, ledger::charge::<D>)
    }
}

/// Hands the figures of a new block to `count`.
#[inline(always)]
pub(super) fn charge<B: Backend, S: Shape<B>>(shape: S, ptr: *mut u8, count: impl FnOnce(usize, usize)) -> *mut u8 {
    if !ptr.is_null() {
        // SAFETY: a block that was just given out.
        let charged = unsafe { shape.charged(ptr) };
        count(shape.requested(charged), charged);
    }
    ptr
}

/// Where the backend counts the totals: counts the rest of a new block.
#[inline(always)]
pub(super) fn charge_details<B: Backend, D: Detail, S: Shape<B>>(shape: S, ptr: *mut u8) -> *mut u8 {
    if D::TOTALS_ONLY { ptr } else { charge::<B, S>(shape, ptr, ledger::charge_details::<D>) }
}

/// Hands the figures of a block that is resized, charged `credited` before, to `credit_old`, and those of what it became
/// to `charge_new`.
#[inline(always)]
pub(super) fn recharge<B: Backend, S: Shape<B>>(
    before: S,
    credited: usize,
    after: S,
    reallocate: impl Fn() -> *mut u8,
    credit_old: impl FnOnce(usize, usize),
    charge_new: impl FnOnce(usize, usize),
) -> *mut u8 {
    let resized = reallocate();
    if !resized.is_null() {
        // The old charge first, which was counted long ago: otherwise the peak would have the block twice.
        credit_old(before.requested(credited), credited);
        charge::<B, S>(after, resized, charge_new);
    }
    resized
}

/// Where the backend counts the totals: counts the rest of a resized block.
///
/// # Safety
/// `ptr` is a live block of the shape `before`.
#[inline(always)]
pub(super) unsafe fn recharge_details<B: Backend, D: Detail, S: Shape<B>>(
    before: S,
    after: S,
    ptr: *mut u8,
    reallocate: impl Fn() -> *mut u8,
) -> *mut u8 {
    if D::TOTALS_ONLY {
        return reallocate();
    }
    // SAFETY: the caller's contract is the callee's.
    let credited = unsafe { before.charged(ptr) };
    recharge::<B, S>(before, credited, after, reallocate, ledger::credit_details::<D>, ledger::charge_details::<D>)
}

/// Whether the backend's own counters may be the ledger's totals.
const fn may_count<B: Backend>() -> bool {
    cfg!(ledger_slots) && B::COUNTS_PER_THREAD
}

/// A thread's first operations and its last ones, those that are asked for first, and blocks whose charge takes a call.
mod cold {
    use super::{Asked, Backend, Counting, Detail, Shape, asked, ledger};

    /// Counts a block that was just given out, and whose charge takes a call.
    #[cold]
    #[inline(never)]
    pub(super) fn charge_looked_up<B: Backend, D: Detail, S: Shape<B>>(shape: S, ptr: *mut u8) -> *mut u8 {
        // SAFETY: a block that was just given out.
        let charged = unsafe { shape.charged(ptr) };
        super::charge_new::<B, D, S>(ptr, shape.requested(charged), charged)
    }

    #[cold]
    #[inline(never)]
    pub(super) fn allocation_looked_up<B: Backend, D: Detail, S: Shape<B>>(
        shape: S,
        allocate: impl Fn(S) -> *mut u8,
    ) -> *mut u8 {
        let ptr = allocate(shape);
        if ptr.is_null() { ptr } else { charge_looked_up::<B, D, S>(shape, ptr) }
    }

    #[cold]
    #[inline(never)]
    pub(super) unsafe fn credit_and_free<B: Backend, D: Detail, S: Shape<B>>(shape: S, ptr: *mut u8) {
        // SAFETY: the caller's contract is the callee's.
        let charged = unsafe { shape.charged(ptr) };
        ledger::credit::<D>(shape.requested(charged), charged);
        // SAFETY: the caller's contract is the callee's.
        unsafe { shape.free(ptr, charged) };
    }

    #[cfg(ledger_slots)]
    #[cold]
    #[inline(never)]
    pub(super) fn finish_charge<B: Backend, D: Detail, S: Shape<B>>(
        ptr: *mut u8,
        tried: &'static ledger::Slot,
        requested: usize,
        charged: usize,
    ) -> *mut u8 {
        if asked::is_allowed_here(charged) && ledger::finish_charge::<D>(tried, requested, charged) {
            return ptr;
        }
        // SAFETY: a block that was just given out, with its charge.
        unsafe { asked::charge_or_free::<B, D, S>(ptr, requested, charged) }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn allocation<B: Backend, D: Detail, S: Shape<B>>(
        shape: S,
        asked: Asked,
        allocate: impl Fn(S) -> *mut u8,
    ) -> *mut u8 {
        match ledger::begin_backend::<B>() {
            Counting::Backend => asked::allocation_beneath::<B, D, S>(shape, asked, allocate),
            Counting::Ledger => super::allocation_in_ledger::<B, D, S>(shape, asked, allocate),
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
        asked: Asked,
        ptr: *mut u8,
        reallocate: impl Fn() -> *mut u8,
    ) -> *mut u8 {
        // SAFETY: the caller's contract is the callees'.
        unsafe {
            match ledger::begin_backend::<B>() {
                Counting::Backend => asked::reallocation_beneath::<B, D, S>(before, after, asked, ptr, reallocate),
                Counting::Ledger => super::reallocation_in_ledger::<B, D, S>(before, after, asked, ptr, reallocate),
            }
        }
    }
}
