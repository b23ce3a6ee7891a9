//! The kernel's figures of real processes, against pages touched here and the obvious reading of the same files.
//!
//! One test, since the figures belong to the whole process and others would move them.
#![cfg(any(target_os = "linux", target_os = "android"))]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use zmalloc::process;

const MIB: usize = 1 << 20;
const SIZE: usize = 64 * MIB;
/// What the test's own process may move besides, and the kernel's counters lag.
const SLACK: usize = 4 * MIB;

/// Pages of this process alone, touched by hand.
struct Pages(*mut u8);

impl Pages {
    fn map() -> Pages {
        let (rights, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping where the kernel likes.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), SIZE, rights, kind, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED);
        Pages(start.cast())
    }

    fn touch(&self) {
        for at in (0..SIZE).step_by(4096) {
            // SAFETY: within the mapping.
            unsafe { self.0.add(at).write_volatile(1) };
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nobody refers to it.
        unsafe { libc::munmap(self.0.cast(), SIZE) };
    }
}

/// A process that waits and so does not change: it has echoed a byte and reads the next one.
struct Still(Child);

impl Still {
    fn new() -> Still {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let stat = format!("/proc/{}/stat", child.id());
        while !fs::read_to_string(&stat).unwrap().contains(") S ") {
            std::thread::yield_now();
        }
        Still(child)
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The obvious reading of one field: its sum in bytes and the mappings that have it.
fn naive(file: &str, field: &str) -> (usize, usize) {
    let text = fs::read_to_string(file).unwrap();
    let values = text.lines().filter_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB")?.parse().ok());
    values.fold((0, 0), |(sum, count), value: usize| (sum + value * 1024, count + 1))
}

fn moved(before: usize, after: usize) -> isize {
    after as isize - before as isize
}

fn about(bytes: isize, expected: usize) -> bool {
    bytes.abs_diff(expected as isize) <= SLACK
}

#[test]
fn the_kernels_figures() {
    resident_and_private_dirty_move_by_what_is_touched();
    sums_agree_with_the_obvious_reading();
    stat_fields_agree();
    memory_size_is_the_machines();
    unknown_is_none_or_zero();
    nothing_is_allocated_or_left_open();
}

fn resident_and_private_dirty_move_by_what_is_touched() {
    let figures = || {
        let peak = process::resident_peak_bytes(None).unwrap();
        (process::resident_bytes().unwrap(), process::private_dirty_bytes(None).unwrap(), peak)
    };
    let pages = Pages::map();
    let mapped = figures();
    pages.touch();
    let touched = figures();
    drop(pages);
    let unmapped = figures();
    assert!(about(moved(mapped.0, touched.0), SIZE), "resident: {mapped:?} then {touched:?}");
    assert!(about(moved(mapped.1, touched.1), SIZE), "private dirty: {mapped:?} then {touched:?}");
    assert!(about(moved(unmapped.0, touched.0), SIZE), "resident: {touched:?} then {unmapped:?}");
    assert!(about(moved(unmapped.1, touched.1), SIZE), "private dirty: {touched:?} then {unmapped:?}");
    assert!(
        touched.2 + SLACK >= touched.0 && unmapped.2 + SLACK >= touched.2,
        "the peak stays: {touched:?} {unmapped:?}"
    );
    assert!(touched.1 <= touched.0 + SLACK, "private dirty pages are resident: {touched:?}");
}

fn sums_agree_with_the_obvious_reading() {
    let child = Still::new();
    let pid = child.0.id();
    let smaps = format!("/proc/{pid}/smaps");
    for field in ["Rss:", "Private_Dirty:", "Private_Clean:", "Shared_Clean:", "Anonymous:", "AnonHugePages:", "Size:"]
    {
        assert_eq!(process::smaps_bytes(field, Some(pid)), naive(&smaps, field).0, "{field}");
    }
    let (pss, mappings) = naive(&smaps, "Pss:");
    assert!(process::smaps_bytes("Pss:", Some(pid)).abs_diff(pss) <= mappings * 1024);
    assert_eq!(process::private_dirty_bytes(Some(pid)), Some(naive(&smaps, "Private_Dirty:").0));
    let resident = process::resident_bytes_of(pid).unwrap();
    assert!(resident.abs_diff(naive(&smaps, "Rss:").0) <= SLACK && resident > 0);
    assert_eq!(process::resident_peak_bytes(Some(pid)), Some(naive(&format!("/proc/{pid}/status"), "VmHWM:").0));
}

fn stat_fields_agree() {
    assert_eq!(process::proc_stat_field(4), Some(i64::from(std::os::unix::process::parent_id())));
    let pages = process::proc_stat_field(24).unwrap() as usize;
    // SAFETY: no conditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    assert!((pages * page).abs_diff(process::resident_bytes().unwrap()) <= SLACK);
    assert_eq!(process::proc_stat_field(3), None, "the state is a letter");
    assert_eq!(process::proc_stat_field(2), None);
    assert_eq!(process::proc_stat_field(1000), None);
}

fn memory_size_is_the_machines() {
    let size = process::memory_size();
    let (total, _) = naive("/proc/meminfo", "MemTotal:");
    assert_eq!(size.physical.map(|bytes| bytes / 1024), Some(total / 1024));
    assert!(size.effective_bytes() <= size.physical);
}

fn unknown_is_none_or_zero() {
    let nobody = Some(u32::MAX);
    assert_eq!(process::resident_bytes_of(u32::MAX), None);
    assert_eq!(process::resident_peak_bytes(nobody), None);
    assert_eq!(process::private_dirty_bytes(nobody), None);
    assert_eq!(process::smaps_bytes("Rss:", nobody), 0);
    for field in ["", ":", "Private_", "Nothing:", "VmFlags:", "0"] {
        assert_eq!(process::smaps_bytes(field, None), 0, "{field:?}");
    }
}

fn nothing_is_allocated_or_left_open() {
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    let figures = || (process::resident_bytes(), process::resident_peak_bytes(None), process::memory_size());
    let sums = || (process::private_dirty_bytes(None), process::smaps_bytes("Size:", None));
    let others = || (process::proc_stat_field(24), process::resident_bytes_of(u32::MAX));
    assert_eq!(common::allocations_of(|| (figures(), sums(), others())), 0);
    assert_ne!(common::allocations_of(|| Box::new(1)), 0, "they would be noticed");
    assert_eq!(open(), before);
}
