//! The two sums that all else is derived from.

/// Bytes allocated and freed since the program started. Both only grow; the difference lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Totals {
    /// Charged bytes of every block ever given out.
    pub allocated_bytes: u64,
    /// Charged bytes of every block ever taken back.
    pub freed_bytes: u64,
}

impl Totals {
    /// Charged bytes of the blocks that the program holds.
    pub const fn live_bytes(&self) -> u64 {
        // At rest never below 0. While a reader is overtaken between its two passes it is not either: frees are read
        // first. Saturating covers a program that frees through us what it allocated past us.
        let live = self.allocated_bytes.wrapping_sub(self.freed_bytes);
        if live > i64::MAX as u64 { 0 } else { live }
    }
}
