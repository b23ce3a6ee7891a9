//! All figures at once, in a structure that may grow, and as text.

use crate::HEAP;
use crate::out::{UNKNOWN, fill, or_unknown, write_text};
use core::ffi::{c_char, c_int};

/// What `zmalloc.h` calls `struct zmalloc_report`. Grows at its end only.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Report {
    size: usize,
    version: u32,
    reserved: u32,
    used: u64,
    peak: u64,
    allocated_total: u64,
    freed_total: u64,
    threads: u64,
    rss: u64,
    rss_peak: u64,
    physical_memory: u64,
    cgroup_limit: u64,
    allocator_allocated: u64,
    allocator_active: u64,
    allocator_resident: u64,
    allocator_retained: u64,
    allocator_muzzy: u64,
    spare: [u64; 8],
}

/// The structure's version; each one has all fields of those before.
const VERSION: u32 = 1;

impl Report {
    fn now() -> Report {
        let report = HEAP.report();
        let allocator = report.allocator.map(|allocator| allocator.statistics).unwrap_or_default();
        Report {
            size: size_of::<Report>(),
            version: VERSION,
            reserved: 0,
            used: report.used as u64,
            peak: report.peak as u64,
            allocated_total: report.allocated_total,
            freed_total: report.freed_total,
            threads: or_unknown(report.threads),
            rss: or_unknown(report.rss),
            rss_peak: or_unknown(zmalloc::process::resident_peak_bytes(None)),
            physical_memory: or_unknown(report.memory_size.physical),
            cgroup_limit: or_unknown(report.memory_size.cgroup_limit),
            allocator_allocated: or_unknown(allocator.allocated),
            allocator_active: or_unknown(allocator.active),
            allocator_resident: or_unknown(allocator.resident),
            allocator_retained: or_unknown(allocator.retained),
            allocator_muzzy: or_unknown(allocator.muzzy),
            spare: [UNKNOWN; 8],
        }
    }
}

#[unsafe(export_name = symbol!("zmalloc_get_report"))]
pub unsafe extern "C" fn zmalloc_get_report(report: *mut Report) -> c_int {
    // SAFETY: the caller's structure begins with its size, and is null or as large as it says.
    unsafe { fill(report, core::mem::offset_of!(Report, spare), Report::now) }
}

#[unsafe(export_name = symbol!("zmalloc_report_text"))]
pub unsafe extern "C" fn zmalloc_report_text(buffer: *mut c_char, capacity: usize) -> usize {
    // SAFETY: the caller's contract is the callee's.
    unsafe { write_text(&HEAP.report(), buffer, capacity) }
}

#[unsafe(export_name = symbol!("zmalloc_report_info"))]
pub unsafe extern "C" fn zmalloc_report_info(buffer: *mut c_char, capacity: usize) -> usize {
    // SAFETY: the caller's contract is the callee's.
    unsafe { write_text(&HEAP.report().to_info(), buffer, capacity) }
}

#[unsafe(export_name = symbol!("zmalloc_version"))]
pub extern "C" fn zmalloc_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
