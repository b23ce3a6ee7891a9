//! Blocks that are asked for before they are made, where `zm` set a limit: large ones, and what cannot be undone.
//!
//! What is small is asked for by being counted: when the ledger refuses it, it is given back. See
//! `crates/zmalloc/src/ledger/limit.rs`.

use super::built::refused;
use crate::environment;
use core::ffi::c_void;
use zmalloc::ledger::{self, LIMIT_VARIABLE, SizeClasses};

/// Sets the limit that the environment gives to each process: a number of bytes. Whatever else is there is none.
pub(crate) fn begin() {
    let limit = environment::value(LIMIT_VARIABLE).filter(|digits| !digits.is_empty()).and_then(|digits| {
        digits.iter().try_fold(0usize, |bytes, digit| {
            let digit = digit.is_ascii_digit().then(|| usize::from(digit - b'0'))?;
            bytes.checked_mul(10)?.checked_add(digit)
        })
    });
    if let Some(bytes) = limit {
        ledger::set_limit(|| bytes);
    }
}

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
    if !ledger::admit(size) {
        return refused_here();
    }
    let block = make();
    if block.is_null() {
        ledger::land(size);
        return block;
    }
    let charged = charge(block);
    if ledger::charge_admitted::<SizeClasses>(size, 0, charged) {
        return block;
    }
    free(block, charged);
    refused_here()
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
    // One to less is not refused.
    let asked = if size > before { at_most } else { 0 };
    if asked > 0 && !ledger::admit(asked) {
        return refused_here();
    }
    let block = make();
    if block.is_null() {
        ledger::land(asked);
        return block;
    }
    let (credited, charged) = change(block);
    if (credited, charged) == (0, 0) {
        ledger::land(asked);
        return block;
    }
    if asked == 0 {
        ledger::recharge_unasked::<SizeClasses>((0, credited), (0, charged));
        return block;
    }
    ledger::credit::<SizeClasses>(0, credited);
    if !ledger::charge_admitted::<SizeClasses>(asked, 0, charged) {
        ledger::charge::<SizeClasses>(0, charged);
    }
    block
}

/// No block, for the limit's sake.
#[cold]
pub(super) fn refused_here() -> *mut c_void {
    crate::session::note_refusal();
    refused(libc::ENOMEM)
}
