//! Bounding the pages in RAM, by looking at them.

use super::level::{Level, Thresholds};
use super::lock::ForkLock;
use super::{limits, reclaim, watch};
use crate::{ledger, process};
use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A bound for the pages in RAM: see [`Zmalloc::bound_resident`](crate::Zmalloc::bound_resident).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Resident {
    /// Bytes.
    Bytes {
        /// Above this unused pages are given back, and the level rises.
        soft: usize,
        /// Above this allocations are refused.
        hard: usize,
    },
    /// Parts of the [lowest limit](process::MemorySize::cgroup_limit) of the process's cgroup and those above it, read anew
    /// each second. Where the kernel tells that tasks of the group wait for memory a tenth of the time or more
    /// ([pressure stall information](process::memory_pressure)), the level is `Critical` as well.
    Cgroup {
        /// The soft part, like 0.8.
        soft: f64,
        /// The hard part, like 0.9.
        hard: f64,
    },
}

/// The process's cgroup has no memory limit to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoCgroupLimit;

impl fmt::Display for NoCgroupLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the cgroup of this process has no memory limit to follow: give the bound in bytes")
    }
}

impl core::error::Error for NoCgroupLimit {}

impl Resident {
    /// The soft and the hard bound in bytes, now.
    fn bytes(self) -> Option<(usize, usize)> {
        match self {
            Resident::Bytes { soft, hard } => Some((soft, hard)),
            Resident::Cgroup { soft, hard } => {
                let limit = process::memory_size().cgroup_limit? as f64;
                Some(((limit * soft) as usize, (limit * hard) as usize))
            }
        }
    }
}

/// What is kept between two looks.
#[derive(Clone, Copy)]
struct Bound {
    /// Which it is, of all that were set.
    number: usize,
    bound: Resident,
    purge: fn() -> bool,
    bytes: (usize, usize),
    read: Instant,
    purged: Option<Instant>,
}

static BOUND: ForkLock<Option<Bound>> = ForkLock::new(None);

/// What a look has seen.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) level: Level,
    /// `None` if the kernel did not tell.
    pub(super) resident_bytes: Option<usize>,
    pub(super) interval: Duration,
}

/// Between two looks, and where pages are above the soft bound.
const INTERVAL: Duration = Duration::from_millis(100);
const INTERVAL_NEAR: Duration = Duration::from_millis(10);
/// How often the cgroup is asked, and unused pages are given back where only the soft bound is crossed.
const SECOND: Duration = Duration::from_secs(1);
/// Percent of the time that tasks wait for memory.
const STALLED: f32 = 10.0;

/// Sets or removes the bound; `purge` gives unused pages back.
pub(crate) fn bound(bound: Option<Resident>, purge: fn() -> bool) -> Result<(), NoCgroupLimit> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let new = match bound {
        None => None,
        Some(bound) => {
            let bytes = bound.bytes().ok_or(NoCgroupLimit)?;
            Some(Bound { number, bound, purge, bytes, read: Instant::now(), purged: None })
        }
    };
    BOUND.with(|bound| {
        *bound = new;
        if new.is_none() {
            limits::set_left_by_resident(None);
        }
    });
    if new.is_some() {
        ledger::in_children(forget);
        // Where it cannot be started nothing is bounded but by the look below.
        let _ = watch::start();
        look();
    }
    watch::look_again();
    Ok(())
}

/// In a forked child, which has nobody to look: until it sets a bound of its own there is none.
fn forget() {
    BOUND.with(|bound| {
        if bound.take().is_some() {
            limits::set_left_by_resident(None);
        }
    });
}

/// Looks at the pages in RAM, if they are bounded.
pub(super) fn look() -> Option<Seen> {
    static LEVEL: AtomicU8 = AtomicU8::new(Level::Normal as u8);
    // Not held meanwhile: what is done takes its time.
    let mut now = BOUND.with(|bound| *bound)?;
    if now.read.elapsed() >= SECOND {
        // A limit that was taken away leaves what was read last.
        now.bytes = now.bound.bytes().unwrap_or(now.bytes);
        now.read = Instant::now();
    }
    let (soft, hard) = now.bytes;
    let Some(mut resident) = process::resident_bytes() else {
        return Some(Seen { level: Level::Normal, resident_bytes: None, interval: INTERVAL });
    };
    let is_time_to_purge = now.purged.is_none_or(|purged| purged.elapsed() >= SECOND);
    if resident > hard || (resident > soft && is_time_to_purge) {
        (now.purge)();
        now.purged = Some(Instant::now());
        resident = process::resident_bytes().unwrap_or(resident);
    }
    if resident > hard {
        reclaim::reclaim(resident - hard, &mut || {
            (now.purge)();
            resident = process::resident_bytes().unwrap_or(resident);
            resident <= hard
        });
    }
    // What more may be counted until the next look is what is left in RAM; negative if it is too much already.
    let used = ledger::used_memory();
    let left =
        if resident > hard { used.saturating_sub(resident - hard) } else { used.saturating_add(hard - resident) };
    BOUND.with(|bound| {
        // Unless it was removed or replaced meanwhile.
        if let Some(bound) = bound.as_mut().filter(|bound| bound.number == now.number) {
            *bound = now;
            limits::set_left_by_resident(Some(left));
        }
    });
    let mut level =
        Thresholds::new(soft, Some(hard)).level(resident, Level::from_number(LEVEL.load(Ordering::Relaxed)));
    LEVEL.store(level as u8, Ordering::Relaxed);
    let follows_cgroup = matches!(now.bound, Resident::Cgroup { .. });
    if follows_cgroup && process::memory_pressure().is_some_and(|pressure| pressure.some >= STALLED) {
        level = Level::Critical;
    }
    let interval = if resident > soft { INTERVAL_NEAR } else { INTERVAL };
    Some(Seen { level, resident_bytes: Some(resident), interval })
}
