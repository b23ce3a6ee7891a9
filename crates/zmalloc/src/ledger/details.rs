//! How much is counted: chosen by type, so that a program pays for what it asks.

use super::Totals;
use super::size_class::{ClassTotals, SIZE_CLASSES};
use super::slot::{Slot, Write};

/// How much of each operation is counted.
///
/// Sealed: the choices are [`TotalsOnly`], [`SizeClasses`] and [`Detailed`].
pub trait Detail: sealed::Count + Copy + Send + Sync + 'static {}

/// Bytes allocated and freed, and from them live and peak. The default, and nearly free.
#[derive(Clone, Copy, Debug, Default)]
pub struct TotalsOnly;

/// Also blocks and bytes per size class. Cost: two more additions per operation.
#[derive(Clone, Copy, Debug, Default)]
pub struct SizeClasses;

/// Also requested bytes. Cost: three more additions per operation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Detailed;

impl Detail for TotalsOnly {}
impl Detail for SizeClasses {}
impl Detail for Detailed {}

pub(crate) mod sealed {
    use super::{Slot, Write};

    pub trait Count {
        /// Whether the totals are all that is counted.
        const TOTALS_ONLY: bool = false;

        #[doc(hidden)]
        fn charge<W: Write>(slot: &Slot, requested: usize, bytes: usize);

        #[doc(hidden)]
        fn credit<W: Write>(slot: &Slot, requested: usize, bytes: usize);
    }
}

impl sealed::Count for TotalsOnly {
    const TOTALS_ONLY: bool = true;

    #[inline(always)]
    fn charge<W: Write>(_: &Slot, _: usize, _: usize) {}

    #[inline(always)]
    fn credit<W: Write>(_: &Slot, _: usize, _: usize) {}
}

impl sealed::Count for SizeClasses {
    #[inline(always)]
    fn charge<W: Write>(slot: &Slot, _: usize, bytes: usize) {
        slot.charge_class::<W>(bytes);
    }

    #[inline(always)]
    fn credit<W: Write>(slot: &Slot, _: usize, bytes: usize) {
        slot.credit_class::<W>(bytes);
    }
}

impl sealed::Count for Detailed {
    #[inline(always)]
    fn charge<W: Write>(slot: &Slot, requested: usize, bytes: usize) {
        W::add(&slot.requested_allocated, requested as u64);
        slot.charge_class::<W>(bytes);
    }

    #[inline(always)]
    fn credit<W: Write>(slot: &Slot, requested: usize, bytes: usize) {
        W::add(&slot.requested_freed, requested as u64);
        slot.credit_class::<W>(bytes);
    }
}

/// What the detailed ledger knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Details {
    /// Requested bytes, which are at most the charged ones. A block allocated or freed through the C-shaped calls,
    /// which do not tell the size again at free, counts its charged bytes here.
    pub requested: Totals,
    /// Blocks and charged bytes by size class; [`size_class_limit`](super::size_class_limit) gives the bounds.
    pub classes: [ClassTotals; SIZE_CLASSES],
}

impl Details {
    /// Blocks ever allocated.
    pub fn blocks_allocated(&self) -> u64 {
        self.classes.iter().fold(0, |sum, class| sum.wrapping_add(class.blocks_allocated))
    }

    /// Blocks the program holds now.
    pub fn blocks_live(&self) -> u64 {
        self.classes.iter().fold(0, |sum, class| sum.wrapping_add(class.blocks_live()))
    }
}
