//! A system that is not asked yet: nothing is known.

use super::{CgroupMemory, MemoryPressure, MemorySize};

pub(super) fn resident_bytes(_: Option<u32>) -> Option<usize> {
    None
}

pub(super) fn resident_peak_bytes(_: Option<u32>) -> Option<usize> {
    None
}

pub(super) fn smaps_sum(_: &str, _: Option<u32>) -> Option<usize> {
    None
}

pub(super) fn proc_stat_field(_: usize) -> Option<i64> {
    None
}

pub(super) fn memory_pressure() -> Option<MemoryPressure> {
    None
}

/// There are no cgroups.
pub(super) fn cgroup_memory() -> CgroupMemory {
    CgroupMemory::default()
}

pub(super) fn memory_size() -> MemorySize {
    MemorySize::default()
}
