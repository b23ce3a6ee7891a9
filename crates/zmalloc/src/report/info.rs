//! A report for programs that read Redis's INFO.

use super::human::Letter;
use super::{Overhead, Report};
use crate::backend::{Backend, Libc};
use core::fmt::{self, Display};

impl Report {
    /// The report in the form of the memory section of "Redis INFO": a heading, then a line `name:value` for each
    /// figure that is known, each ended by CR and LF.
    ///
    /// Names and formulas are those of Redis; a line is left out where Redis without a figure writes 0 or another one:
    ///
    /// | lines | value |
    /// |---|---|
    /// | `used_memory`, `used_memory_rss`, `used_memory_peak` | bytes used, resident set, most ever used |
    /// | `used_memory_peak_perc` | used * 100 / peak, as `62.50%` |
    /// | `allocator_allocated`, `_active`, `_resident`, `_retained`, `_muzzy` | the allocator's own figures (Redis leaves out `_retained`) |
    /// | `total_system_memory` | physical memory |
    /// | `allocator_frag_ratio`, `_bytes` | active / allocated, active - allocated (as Redis 5.0 to 7.2; later by small blocks alone) |
    /// | `allocator_rss_ratio`, `_bytes` | resident / active, resident - active |
    /// | `rss_overhead_ratio`, `_bytes` | resident set / resident, resident set - resident |
    /// | `mem_fragmentation_ratio`, `_bytes` | resident set / used, resident set - used |
    /// | `mem_allocator` | name and version, as `jemalloc-5.3.1`; `libc` without a version |
    /// | `zmalloc_...` | figures that Redis does not have; sizes in bytes |
    ///
    /// Sizes also come as `NAME_human`, like `1.50M`. Redis samples the resident set and the allocator ten times a
    /// second; here all figures are of the moment the report was taken.
    pub fn to_info(&self) -> String {
        Info(self).to_string()
    }
}

struct Info<'a>(&'a Report);

impl Display for Info<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Info(report) = self;
        let statistics = report.allocator.map(|allocator| allocator.statistics).unwrap_or_default();
        f.write_str("# Memory\r\n")?;
        size(f, "used_memory", Some(report.used))?;
        size(f, "used_memory_rss", report.rss)?;
        size(f, "used_memory_peak", Some(report.peak))?;
        if report.peak > 0 {
            write!(f, "used_memory_peak_perc:{:.2}%\r\n", report.used as f64 * 100.0 / report.peak as f64)?;
        }
        line(f, "allocator_allocated", statistics.allocated)?;
        line(f, "allocator_active", statistics.active)?;
        line(f, "allocator_resident", statistics.resident)?;
        line(f, "allocator_retained", statistics.retained)?;
        line(f, "allocator_muzzy", statistics.muzzy)?;
        size(f, "total_system_memory", report.memory_size.physical)?;
        overhead(f, "allocator_frag", report.allocator_fragmentation())?;
        overhead(f, "allocator_rss", report.allocator_resident_overhead())?;
        overhead(f, "rss_overhead", report.rss_overhead())?;
        overhead(f, "mem_fragmentation", report.fragmentation())?;
        if let Some(allocator) = report.allocator {
            // Redis has the numbers alone, from a header; jemalloc itself adds the commit it was built from.
            match allocator.version.as_str().split('-').next() {
                Some(version) if !version.is_empty() && allocator.name != Libc::NAME => {
                    write!(f, "mem_allocator:{}-{version}\r\n", allocator.name)?;
                }
                _ => line(f, "mem_allocator", Some(allocator.name))?,
            }
        }
        line(f, "zmalloc_allocated_total", Some(report.allocated_total))?;
        line(f, "zmalloc_freed_total", Some(report.freed_total))?;
        line(f, "zmalloc_threads", report.threads)?;
        line(f, "zmalloc_requested", report.requested())?;
        line(f, "zmalloc_blocks_live", report.details.map(|details| details.blocks_live()))?;
        line(f, "zmalloc_private_dirty", report.private_dirty)?;
        line(f, "zmalloc_cgroup_limit", report.memory_size.cgroup_limit)
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, value: Option<impl Display>) -> fmt::Result {
    value.map_or(Ok(()), |value| write!(f, "{name}:{value}\r\n"))
}

fn size(f: &mut fmt::Formatter<'_>, name: &str, bytes: Option<usize>) -> fmt::Result {
    bytes.map_or(Ok(()), |bytes| write!(f, "{name}:{bytes}\r\n{name}_human:{}\r\n", Letter(bytes)))
}

fn overhead(f: &mut fmt::Formatter<'_>, name: &str, overhead: Option<Overhead>) -> fmt::Result {
    let Some(Overhead { ratio, bytes }) = overhead else { return Ok(()) };
    if let Some(ratio) = ratio {
        write!(f, "{name}_ratio:{ratio:.2}\r\n")?;
    }
    write!(f, "{name}_bytes:{bytes}\r\n")
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::{AllocatorReport, Report, empty_example, example};
    use crate::backend::{Statistics, Version};

    #[test]
    fn a_full_section() {
        let expected = "\
# Memory
used_memory:104857600
used_memory_human:100.00M
used_memory_rss:157286400
used_memory_rss_human:150.00M
used_memory_peak:167772160
used_memory_peak_human:160.00M
used_memory_peak_perc:62.50%
allocator_allocated:109051904
allocator_active:136314880
allocator_resident:149946368
allocator_retained:8388608
allocator_muzzy:0
total_system_memory:17179869184
total_system_memory_human:16.00G
allocator_frag_ratio:1.25
allocator_frag_bytes:27262976
allocator_rss_ratio:1.10
allocator_rss_bytes:13631488
rss_overhead_ratio:1.05
rss_overhead_bytes:7340032
mem_fragmentation_ratio:1.50
mem_fragmentation_bytes:52428800
mem_allocator:jemalloc-5.3.1
zmalloc_allocated_total:3221225472
zmalloc_freed_total:3116367872
zmalloc_threads:4
zmalloc_requested:94371840
zmalloc_blocks_live:7
zmalloc_private_dirty:146804736
zmalloc_cgroup_limit:536870912
";
        assert_eq!(example().to_info(), expected.replace('\n', "\r\n"));
    }

    #[test]
    fn an_empty_section_leaves_out_what_is_not_known() {
        let libc = AllocatorReport { name: "libc", version: Version::new(b"2.36"), statistics: Statistics::default() };
        let report = Report { allocator: Some(libc), ..empty_example() };
        let expected = "\
# Memory
used_memory:0
used_memory_human:0B
used_memory_peak:0
used_memory_peak_human:0B
mem_allocator:libc
zmalloc_allocated_total:0
zmalloc_freed_total:0
";
        assert_eq!(report.to_info(), expected.replace('\n', "\r\n"));
    }
}
