//! Linux: `/proc` and the cgroup files, read without allocating.

mod cgroup;
mod file;
mod lines;
mod parse;
mod path;

use super::{CgroupMemory, MemoryPressure, MemorySize};
use file::File;
use lines::Lines;
use path::Path;

/// Longer than any file read in one piece, and than any line that matters.
const BUFFER: usize = 4096;

pub(super) fn resident_bytes(pid: Option<u32>) -> Option<usize> {
    let mut buffer = [0; 128];
    let pages = parse::statm_resident(file::read_start(&Path::of_process(pid, "statm")?, &mut buffer)?)?;
    // A zombie and a kernel thread have no memory: 0 pages.
    pages.checked_mul(page_size()?)
}

pub(super) fn resident_peak_bytes(pid: Option<u32>) -> Option<usize> {
    let mut lines = lines(&Path::of_process(pid, "status")?)?;
    while let Some(line) = lines.next() {
        if let Some(bytes) = parse::kilobytes(line, b"VmHWM:") {
            return Some(bytes);
        }
    }
    None
}

/// `None` if the process cannot be read to the end or has no such field.
pub(super) fn smaps_sum(field: &str, pid: Option<u32>) -> Option<usize> {
    // Without its colon a field's name would also match those that begin with it, or a mapping's address.
    if !field.ends_with(':') {
        return None;
    }
    sum_in("smaps_rollup", field, pid).or_else(|| sum_in("smaps", field, pid))
}

pub(super) fn proc_stat_field(index: usize) -> Option<i64> {
    let mut buffer = [0; BUFFER];
    parse::stat_field(file::read_start(&Path::of_process(None, "stat")?, &mut buffer)?, index)
}

pub(super) fn memory_size() -> MemorySize {
    MemorySize { physical: physical(), cgroup_limit: cgroup::limit(b"") }
}

pub(super) fn memory_pressure() -> Option<MemoryPressure> {
    let mut buffer = [0; 256];
    if let Some(path) = cgroup::pressure(b"")
        && let Some(text) = file::read_start(&path, &mut buffer)
        && let Some(pressure) = parse::pressure(text)
    {
        return Some(pressure);
    }
    parse::pressure(file::read_start(&Path::of(&[b"/proc/pressure/memory"])?, &mut buffer)?)
}

pub(super) fn cgroup_memory() -> CgroupMemory {
    cgroup::memory(b"")
}

fn sum_in(name: &str, field: &str, pid: Option<u32>) -> Option<usize> {
    let mut lines = lines(&Path::of_process(pid, name)?)?;
    let mut sum: Option<usize> = None;
    while let Some(line) = lines.next() {
        if let Some(bytes) = parse::kilobytes(line, field.as_bytes()) {
            sum = Some(sum.unwrap_or(0).saturating_add(bytes));
        }
    }
    sum.filter(|_| !lines.failed())
}

fn lines(path: &Path) -> Option<Lines<File, BUFFER>> {
    Some(Lines::new(File::open(path)?))
}

fn page_size() -> Option<usize> {
    // SAFETY: no conditions.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()
}

/// By the system call: `sysconf` of some C libraries opens a stream for it, which allocates.
fn physical() -> Option<usize> {
    // SAFETY: a structure of integers.
    let mut info: libc::sysinfo = unsafe { core::mem::zeroed() };
    // SAFETY: `info` is writable.
    if unsafe { libc::sysinfo(&mut info) } != 0 {
        return None;
    }
    usize::try_from(info.totalram).ok()?.checked_mul(usize::try_from(info.mem_unit).ok()?)
}
