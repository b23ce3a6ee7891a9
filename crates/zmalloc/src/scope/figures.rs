//! The figures of a scope.

/// What a scope counted, in bytes. Freshness: see the [module](super).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Figures {
    /// Bytes allocated in it. Only grows.
    pub allocated_bytes: u64,
    /// By flow, bytes freed in it, whoever allocated them; by owner, bytes freed that it allocated, wherever. Only grows.
    pub freed_bytes: u64,
    /// The difference: by flow, negative for a scope that frees what others allocated.
    pub live_bytes: i64,
    /// The most live bytes that were seen when a thread entered or left a scope, here or below; 0 if they were never
    /// above. Off the true peak by at most what each thread gained, or gave back, between two such moments: a thread
    /// that allocates and frees within one stay shows none of it.
    pub peak_live_bytes: u64,
    /// Times it was entered and left again; each poll of a future is one.
    pub entered: u64,
}

/// Bytes counted in no scope that there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Flow {
    /// Bytes allocated. Only grows.
    pub allocated_bytes: u64,
    /// Bytes freed. Only grows.
    pub freed_bytes: u64,
    /// The difference, which may be negative.
    pub live_bytes: i64,
}

/// Sums that only grow.
#[derive(Clone, Copy, Default)]
pub(super) struct Sums {
    pub(super) allocated: u64,
    pub(super) freed: u64,
    pub(super) entered: u64,
}

impl Sums {
    pub(super) fn live(self) -> i64 {
        self.allocated.wrapping_sub(self.freed) as i64
    }

    pub(super) fn plus(self, other: Sums) -> Sums {
        Sums {
            allocated: self.allocated.wrapping_add(other.allocated),
            freed: self.freed.wrapping_add(other.freed),
            entered: self.entered.wrapping_add(other.entered),
        }
    }

    pub(super) fn with_peak(self, peak_live_bytes: u64) -> Figures {
        Figures {
            allocated_bytes: self.allocated,
            freed_bytes: self.freed,
            live_bytes: self.live(),
            peak_live_bytes,
            entered: self.entered,
        }
    }

    pub(super) fn flow(self) -> Flow {
        Flow { allocated_bytes: self.allocated, freed_bytes: self.freed, live_bytes: self.live() }
    }
}
