//! The calling thread's own sums, in the ways of counting that have no slot per thread. Only scopes read them.

use super::Totals;
use core::cell::Cell;

std::thread_local! {
    static SUMS: Cell<Totals> = const { Cell::new(Totals { allocated_bytes: 0, freed_bytes: 0 }) };
}

/// Adds a block given out.
#[inline]
pub(super) fn charge(bytes: usize) {
    // Without a destructor, this never fails and never allocates.
    SUMS.with(|sums| {
        let Totals { allocated_bytes, freed_bytes } = sums.get();
        sums.set(Totals { allocated_bytes: allocated_bytes.wrapping_add(bytes as u64), freed_bytes });
    });
}

/// Adds a block taken back.
#[inline]
pub(super) fn credit(bytes: usize) {
    SUMS.with(|sums| {
        let Totals { allocated_bytes, freed_bytes } = sums.get();
        sums.set(Totals { allocated_bytes, freed_bytes: freed_bytes.wrapping_add(bytes as u64) });
    });
}

/// Always some: every thread has these.
#[inline]
pub(crate) fn totals() -> Option<Totals> {
    Some(SUMS.with(Cell::get))
}
