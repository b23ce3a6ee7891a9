//! Blocks that are asked for before they are made, where `zm` set a limit: large ones, and what cannot be undone.
//!
//! What is small is asked for by being counted: when the ledger refuses it, it is given back. See
//! `crates/zmalloc/src/ledger/limit.rs`.

use super::built::refused;
use crate::{at_limit, requests};
use core::ffi::c_void;
use zmalloc::ledger::{self, SizeClasses};

/// Whether a resize of a block charged `before` to `size` bytes has to be asked for, if anything has: one of them is large,
/// or the thread has to ask for everything.
#[inline(always)]
pub(super) fn is_asked(before: usize, size: usize) -> bool {
    before.max(size) >= ledger::LARGE || !ledger::has_room()
}

/// Whether a block of this size and alignment has to be asked for, if anything has: a small one that is aligned may be
/// charged much more.
#[inline(always)]
pub(super) fn is_large(alignment: usize, size: usize) -> bool {
    size >= ledger::LARGE || alignment > 16
}

/// A block of `size` bytes or more, from `make`; what it is charged is `charge`'s, and `free` takes one back that is charged so.
pub(super) fn block(
    size: usize,
    make: impl FnOnce() -> *mut c_void,
    charge: impl FnOnce(*mut c_void) -> usize,
    free: impl FnOnce(*mut c_void, usize),
) -> *mut c_void {
    requests::look();
    if !asked(|| ledger::admit(size)) {
        return refused(libc::ENOMEM);
    }
    let block = make();
    if block.is_null() {
        ledger::land(size);
        return block;
    }
    let charged = charge(block);
    if ledger::charge_admitted::<SizeClasses>(size, 0, charged) || asked(|| charged_now(charged)) {
        return block;
    }
    free(block, charged);
    refused(libc::ENOMEM)
}

/// A resize, of a block charged `before` to `size` bytes, which makes it one that is charged at most so many: that is asked for
/// while it is counted as it is. `change` answers what was credited and what was charged by it.
pub(super) fn resize(
    before: usize,
    size: usize,
    at_most: usize,
    make: impl FnOnce() -> *mut c_void,
    change: impl FnOnce(*mut c_void) -> (usize, usize),
) -> *mut c_void {
    requests::look();
    // One to less is not refused.
    let bytes = if size > before { at_most } else { 0 };
    if bytes > 0 && !asked(|| ledger::admit(bytes)) {
        return refused(libc::ENOMEM);
    }
    let block = make();
    if block.is_null() {
        ledger::land(bytes);
        return block;
    }
    let (credited, charged) = change(block);
    if (credited, charged) == (0, 0) {
        ledger::land(bytes);
        return block;
    }
    if bytes == 0 {
        ledger::recharge_unasked::<SizeClasses>((0, credited), (0, charged));
        return block;
    }
    ledger::credit::<SizeClasses>(0, credited);
    if !ledger::charge_admitted::<SizeClasses>(bytes, 0, charged) {
        ledger::charge::<SizeClasses>(0, charged);
    }
    block
}

/// No block, for the limit's sake, unless there is room after what is to be done at the limit was. What was given out is
/// counted then.
#[cold]
pub(super) fn charged_or_refused(block: *mut c_void, charged: usize, free: impl FnOnce(*mut c_void)) -> *mut c_void {
    if at_limit::is_reached() && charged_now(charged) {
        return block;
    }
    free(block);
    refused(libc::ENOMEM)
}

fn charged_now(charged: usize) -> bool {
    ledger::charge_admitted::<SizeClasses>(0, 0, charged)
}

/// Asks; where that is refused, again after what is to be done at the limit was.
fn asked(ask: impl Fn() -> bool) -> bool {
    ask() || (at_limit::is_reached() && ask())
}
