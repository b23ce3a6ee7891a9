//! Apple: the task's own figures, and `hw.memsize`.

use super::{CgroupMemory, MemoryPressure, MemorySize};
use core::ptr::null_mut;

pub(super) fn resident_bytes(pid: Option<u32>) -> Option<usize> {
    usize::try_from(task(pid)?.resident_size).ok()
}

pub(super) fn resident_peak_bytes(pid: Option<u32>) -> Option<usize> {
    usize::try_from(task(pid)?.resident_size_max).ok()
}

/// There is no smaps.
pub(super) fn smaps_sum(_: &str, _: Option<u32>) -> Option<usize> {
    None
}

/// There is no `/proc`.
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
    let mut bytes = 0u64;
    let mut length = size_of::<u64>();
    // SAFETY: the name ends with 0, `bytes` is writable for `length` bytes, and nothing is set.
    let code =
        unsafe { libc::sysctlbyname(c"hw.memsize".as_ptr(), (&raw mut bytes).cast(), &mut length, null_mut(), 0) };
    let known = code == 0 && length == size_of::<u64>();
    MemorySize { physical: if known { usize::try_from(bytes).ok() } else { None }, cgroup_limit: None }
}

/// The figures of this process; another one's task port takes privileges.
fn task(pid: Option<u32>) -> Option<libc::mach_task_basic_info> {
    if pid.is_some_and(|pid| pid != std::process::id()) {
        return None;
    }
    // SAFETY: a structure of integers.
    let mut info: libc::mach_task_basic_info = unsafe { core::mem::zeroed() };
    let mut count = libc::MACH_TASK_BASIC_INFO_COUNT;
    // libc points to a crate of its own for this call, which would be a dependency for one line.
    #[allow(deprecated)]
    // SAFETY: no conditions.
    let task = unsafe { libc::mach_task_self() };
    // SAFETY: `info` is writable for `count` words.
    let code = unsafe { libc::task_info(task, libc::MACH_TASK_BASIC_INFO, (&raw mut info).cast(), &mut count) };
    (code == libc::KERN_SUCCESS).then_some(info)
}
