//! A report for people.

use super::Report;
use super::human::Iec;
use core::fmt;

/// A table of what is known, each size by IEC unit and in exact bytes. Formatting it allocates nothing by itself.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "heap")?;
        size(f, "requested", self.requested())?;
        size(f, "used", Some(self.used))?;
        size(f, "peak", Some(self.peak))?;
        size(f, "allocated in total", Some(self.allocated_total))?;
        size(f, "freed in total", Some(self.freed_total))?;
        if self.allocated_total == 0 {
            writeln!(f, "  nothing was counted: is a Zmalloc the program's #[global_allocator]?")?;
        }
        count(f, "blocks", self.details.map(|details| details.blocks_live()))?;
        count(f, "threads", self.threads.map(|threads| threads as u64))?;
        if let Some(allocator) = self.allocator {
            writeln!(f, "allocator: {} {}", allocator.name, allocator.version)?;
            size(f, "allocated", allocator.statistics.allocated)?;
            size(f, "active", allocator.statistics.active)?;
            size(f, "resident", allocator.statistics.resident)?;
            size(f, "retained", allocator.statistics.retained)?;
            size(f, "muzzy", allocator.statistics.muzzy)?;
        }
        writeln!(f, "process")?;
        size(f, "resident set", self.rss)?;
        size(f, "private dirty", self.private_dirty)?;
        size(f, "resident - used", self.fragmentation_bytes())?;
        if let Some(ratio) = self.fragmentation_ratio() {
            writeln!(f, "  {:<LABEL$}{ratio:>VALUE$.2}", "resident / used")?;
        }
        writeln!(f, "machine")?;
        size(f, "physical memory", self.memory_size.physical)?;
        size(f, "cgroup limit", self.memory_size.cgroup_limit)
    }
}

const LABEL: usize = 20;
const VALUE: usize = 10;
const UNIT: usize = 3;
const BYTES: usize = 20;

fn size(f: &mut fmt::Formatter<'_>, label: &str, bytes: Option<impl TryInto<i128> + Copy>) -> fmt::Result {
    let Some(bytes) = bytes.and_then(|bytes| bytes.try_into().ok()) else { return Ok(()) };
    let Iec { value, unit, decimals } = Iec::of(bytes);
    writeln!(f, "  {label:<LABEL$}{value:>VALUE$.decimals$} {unit:<UNIT$}{bytes:>BYTES$} bytes")
}

fn count(f: &mut fmt::Formatter<'_>, label: &str, count: Option<u64>) -> fmt::Result {
    count.map_or(Ok(()), |count| writeln!(f, "  {label:<LABEL$}{count:>VALUE$}"))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::{empty_example, example};

    #[test]
    fn a_full_table() {
        let expected = "\
heap
  requested                90.00 MiB            94371840 bytes
  used                    100.00 MiB           104857600 bytes
  peak                    160.00 MiB           167772160 bytes
  allocated in total        3.00 GiB          3221225472 bytes
  freed in total            2.90 GiB          3116367872 bytes
  blocks                       7
  threads                      4
allocator: jemalloc 5.3.1-0-g81034ce1
  allocated               104.00 MiB           109051904 bytes
  active                  130.00 MiB           136314880 bytes
  resident                143.00 MiB           149946368 bytes
  retained                  8.00 MiB             8388608 bytes
  muzzy                        0 B                     0 bytes
process
  resident set            150.00 MiB           157286400 bytes
  private dirty           140.00 MiB           146804736 bytes
  resident - used          50.00 MiB            52428800 bytes
  resident / used           1.50
machine
  physical memory          16.00 GiB         17179869184 bytes
  cgroup limit            512.00 MiB           536870912 bytes
";
        assert_eq!(example().to_string(), expected);
    }

    #[test]
    fn an_empty_table_leaves_out_what_is_not_known() {
        let labels: Vec<_> =
            empty_example().to_string().lines().map(|line| line[..line.len().min(22)].trim().to_owned()).collect();
        let expected = [
            "heap",
            "used",
            "peak",
            "allocated in total",
            "freed in total",
            "nothing was counted:",
            "process",
            "machine",
        ];
        assert_eq!(labels, expected);
    }
}
