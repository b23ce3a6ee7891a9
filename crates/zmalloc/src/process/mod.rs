//! What the kernel says of a process: its pages in RAM, and the memory it may have.
//!
//! One contract, one file per system. It holds for every function here:
//!
//! - Figures are in bytes. What the system does not tell, or not of that process, is `None`, or 0 where the answer is
//!   a sum over what was found.
//! - A figure is as fresh as the call; nothing is kept between calls.
//! - Nothing is allocated and no lock of this library is taken, so the calls work in an out-of-memory handler and
//!   inside an allocator. They take one file descriptor at a time and up to 12 KiB of stack, four times that in a
//!   build without optimization; `errno` may change.
//! - A process is named by its id, `None` is the calling one. Reading another one needs the right to trace it, except
//!   for resident bytes and their peak, which anyone may read unless `/proc` is mounted with `hidepid`.
//!
//! Costs were measured on an idle Linux x86-64 machine.
//!
//! | | Linux, Android | Apple | others |
//! |---|---|---|---|
//! | resident, peak | `/proc` | `task_info`, own process alone | |
//! | private dirty, smaps fields, stat fields | `/proc` | | |
//! | physical memory | `sysinfo` | `hw.memsize` | |
//! | cgroup limit, use, kills | versions 1 and 2 | | |
//! | memory pressure | version 2, or `/proc` | | |

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(any(target_os = "linux", target_os = "android"))]
use linux as system;

#[cfg(target_vendor = "apple")]
mod apple;
#[cfg(target_vendor = "apple")]
use apple as system;

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
mod other;
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
use other as system;

/// The memory that a process may have, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct MemorySize {
    /// RAM of the machine that the kernel manages.
    pub physical: Option<usize>,
    /// The lowest memory limit of the process's cgroup and of those above it, as far as they can be seen from here; it
    /// may be above the physical memory. `None` if there is no limit. In version 2 also the threshold `memory.high`,
    /// above which the kernel slows the group down instead of ending it.
    pub cgroup_limit: Option<usize>,
}

impl MemorySize {
    /// What can really be had: the lower of the two, as far as they are known.
    pub fn effective_bytes(&self) -> Option<usize> {
        [self.physical, self.cgroup_limit].into_iter().flatten().min()
    }
}

/// What the calling process's memory cgroup says of itself; `None` where it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct CgroupMemory {
    /// Bytes charged to the group and those below it: anonymous pages, page cache, kernel memory.
    pub used: Option<usize>,
    /// Processes of the group that the kernel killed for want of memory, of this group or above it. Only grows.
    pub oom_kills: Option<u64>,
}

/// What the calling process's memory cgroup holds and has lost. Cost: about 40 us.
pub fn cgroup_memory() -> CgroupMemory {
    system::cgroup_memory()
}

/// Bytes of this process's pages in RAM, shared ones included: the resident set.
///
/// The kernel adds up its counters of pages per processor or per thread, which on some versions lag by up to a few
/// hundred KiB; the field `Rss:` of [`smaps_bytes`] is exact and slower. Cost: about 1 us.
pub fn resident_bytes() -> Option<usize> {
    system::resident_bytes(None)
}

/// As [`resident_bytes`], of the process `pid`.
pub fn resident_bytes_of(pid: u32) -> Option<usize> {
    system::resident_bytes(Some(pid))
}

/// The most bytes that were ever in the resident set, as the kernel noticed it (`VmHWM`): at least a resident size read
/// before, give or take its lag. Cost: about 3 us.
pub fn resident_peak_bytes(pid: Option<u32>) -> Option<usize> {
    system::resident_peak_bytes(pid)
}

/// Bytes in pages that are this process's alone and written to: what ends with it, or what a fork has copied.
///
/// The kernel walks the page tables: about 10 us for a small process and 2 ms for each GiB in RAM, more where there
/// is no `smaps_rollup` (see [`smaps_bytes`]). Meanwhile the process's other threads may wait to change mappings.
pub fn private_dirty_bytes(pid: Option<u32>) -> Option<usize> {
    system::smaps_sum("Private_Dirty:", pid)
}

/// The sum of one field over all mappings in `/proc/PID/smaps`, in bytes, like
/// `smaps_bytes("AnonHugePages:", None)`. `field` includes the colon. An unknown field or process gives 0, and so
/// does a field that is not in kB.
///
/// Where the kernel adds a field up by itself (`smaps_rollup`, Linux 4.14), its sum is taken: it costs a third or less,
/// and differs only for the `Pss` fields, which the kernel rounds down once instead of once for each mapping.
///
/// Cost: as [`private_dirty_bytes`]; for the fields that only a mapping has, like `Size:`, about 50 us and 6 ms for
/// each GiB in RAM.
pub fn smaps_bytes(field: &str, pid: Option<u32>) -> usize {
    system::smaps_sum(field, pid).unwrap_or(0)
}

/// The `index`-th field, counted from 1, of `/proc/self/stat` as the manual page proc(5) numbers them: 24 is the
/// resident set in pages. `None` below 3, beyond the last one, and for a field that is not a number; a number too
/// large is `i64::MAX`. Cost: about 2 us.
pub fn proc_stat_field(index: usize) -> Option<i64> {
    system::proc_stat_field(index)
}

/// The machine's memory and this process's cgroup limit.
///
/// Cost: about 30 us, more in a deep hierarchy; a limit changes seldom, so ask once in a while.
pub fn memory_size() -> MemorySize {
    system::memory_size()
}

/// How much of the last ten seconds tasks waited for memory, in percent of the time: pressure stall information.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct MemoryPressure {
    /// Some of them.
    pub some: f32,
    /// All that were not idle.
    pub full: f32,
}

/// What the kernel tells of the process's cgroup, or if it does not, of the machine. `None` where it keeps no such figures.
///
/// Freshness: the kernel updates them each two seconds. Cost: as [`memory_size`].
pub fn memory_pressure() -> Option<MemoryPressure> {
    system::memory_pressure()
}

#[cfg(test)]
mod tests {
    use super::MemorySize;

    #[test]
    fn the_lower_of_what_is_known_is_effective() {
        let size = |physical, cgroup_limit| MemorySize { physical, cgroup_limit }.effective_bytes();
        assert_eq!(size(Some(8), None), Some(8));
        assert_eq!(size(Some(8), Some(5)), Some(5));
        assert_eq!(size(Some(8), Some(9)), Some(8));
        assert_eq!(size(None, Some(9)), Some(9));
        assert_eq!(size(None, None), None);
    }
}
