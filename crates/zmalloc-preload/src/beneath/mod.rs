//! The allocator beneath, and the counting of what it gives and takes.
//!
//! One contract, two files: `forward` calls the allocator that the program has anyway, `built_in` the one that this
//! library was built with. Both offer C's family, counted.

mod built;
#[cfg(not(any(feature = "jemalloc", feature = "mimalloc", feature = "snmalloc")))]
mod counters;
#[cfg_attr(any(feature = "jemalloc", feature = "mimalloc", feature = "snmalloc"), path = "built_in.rs")]
#[cfg_attr(not(any(feature = "jemalloc", feature = "mimalloc", feature = "snmalloc")), path = "forward.rs")]
mod family;
mod limited;
#[cfg(not(any(feature = "jemalloc", feature = "mimalloc", feature = "snmalloc")))]
mod next;

pub(crate) use family::*;

use crate::requests;
use core::ffi::c_void;
use zmalloc::ledger::{self, SizeClasses};

/// Counts what a block became, whatever the limit: its resize cannot be undone.
#[inline(always)]
fn charge(usable: usize) {
    ledger::charge::<SizeClasses>(0, usable);
}

/// Counts a block given out, unless the limit has not so much: then it is given back, and null is the answer. Requested
/// sizes are not counted: a C program does not tell them again at `free`.
#[inline(always)]
fn charge_or_free(block: *mut c_void, usable: usize, free: impl FnOnce(*mut c_void)) -> *mut c_void {
    match ledger::try_charge::<SizeClasses>(0, usable) {
        Ok(()) => block,
        Err(tried) => finish_or_free(block, usable, tried, free),
    }
}

/// What [`charge_or_free`] does where the usual path ends.
#[cold]
fn finish_or_free(
    block: *mut c_void,
    usable: usize,
    tried: &'static ledger::Slot,
    free: impl FnOnce(*mut c_void),
) -> *mut c_void {
    if ledger::finish_charge::<SizeClasses>(tried, 0, usable) {
        requests::look();
        return block;
    }
    limited::charged_or_refused(block, usable, free)
}

/// Counts a block taken back.
#[inline(always)]
fn credit(usable: usize) {
    ledger::credit::<SizeClasses>(0, usable);
}

/// Resizes a block of the start's arena: `new` is a fresh block of `size` bytes, or null.
unsafe fn move_out_of_arena(block: *mut c_void, new: *mut c_void, size: usize) -> *mut c_void {
    if !new.is_null() {
        // SAFETY: a block of the arena, and a new one of `size` bytes, elsewhere.
        unsafe {
            let kept = crate::arena::usable_size(block).min(size);
            new.cast::<u8>().copy_from_nonoverlapping(block.cast(), kept);
        }
        crate::arena::take_back();
    }
    new
}
