//! The report for Prometheus: the OpenMetrics text format, 1.0.
//!
//! A series for each program, by its path, not for each process: pids would make new series with every run.

use super::{Process, Report};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::fmt;

/// The report as OpenMetrics; its media type is `application/openmetrics-text; version=1.0.0; charset=utf-8`.
pub fn write(report: &Report) -> Vec<u8> {
    let mut programs: BTreeMap<String, Sums> = BTreeMap::new();
    report.processes.iter().for_each(|process| programs.entry(process.exe.clone()).or_default().add(process));
    let mut registry = Registry::with_prefix("zm_run");
    registry.register_collector(Box::new(Figures {
        info: vec![
            ("command", report.command.join(" ")),
            ("backend", report.backend.clone()),
            ("backend_source", report.backend_source.clone()),
        ],
        wall_seconds: report.wall_seconds,
        exit_code: report.exit_code,
        signal: report.signal,
        not_counted: report.not_counted.len() as u64,
        programs,
    }));
    let mut page = String::new();
    text::encode(&mut page, &registry).expect("a string takes all");
    page.into_bytes()
}

#[derive(Debug)]
struct Figures {
    info: Vec<(&'static str, String)>,
    wall_seconds: f64,
    exit_code: Option<i32>,
    signal: Option<i32>,
    not_counted: u64,
    programs: BTreeMap<String, Sums>,
}

/// The processes of one program: sums, and of peaks the largest.
#[derive(Debug, Default)]
struct Sums {
    processes: u64,
    live: u64,
    live_blocks: u64,
    peak_live: u64,
    peak_mapped: u64,
    peak_rss: Option<u64>,
    allocated: u64,
    freed: u64,
    allocations: u64,
}

impl Sums {
    fn add(&mut self, process: &Process) {
        // A fork that became a program did not end: what was live went with its memory.
        if !process.became_program() {
            self.processes += 1;
            self.live = self.live.saturating_add(process.used_bytes);
            self.live_blocks = self.live_blocks.saturating_add(process.live_blocks);
        }
        self.peak_live = self.peak_live.max(process.used_peak_bytes);
        self.peak_mapped = self.peak_mapped.max(process.mapped_peak_bytes);
        self.peak_rss = self.peak_rss.max(process.rss_peak_bytes);
        self.allocated = self.allocated.saturating_add(process.allocated_bytes_total);
        self.freed = self.freed.saturating_add(process.freed_bytes_total);
        self.allocations = self.allocations.saturating_add(process.allocations_total);
    }
}

/// A family with a series for each program: name, meaning, unit, value.
type Family = (&'static str, &'static str, Option<Unit>, fn(&Sums) -> Option<u64>);

impl Collector for Figures {
    fn encode(&self, mut to: DescriptorEncoder) -> fmt::Result {
        let mut info = to.encode_descriptor("command", "What was run.", None, MetricType::Info)?;
        info.encode_info(&self.info)?;
        let seconds = Some(&Unit::Seconds);
        let mut single = |name, help, unit, value: Option<f64>| {
            value.map_or(Ok(()), |value| {
                ConstGauge::new(value).encode(to.encode_descriptor(name, help, unit, MetricType::Gauge)?)
            })
        };
        single("wall", "From before the program was started until it had ended.", seconds, Some(self.wall_seconds))?;
        single("exit_code", "The program's exit code.", None, self.exit_code.map(f64::from))?;
        single("signal", "The signal that ended the program.", None, self.signal.map(f64::from))?;
        let not_counted = Some(self.not_counted as f64);
        single("not_counted", "Programs whose heap is not in the figures, or not all of it.", None, not_counted)?;

        let gauges: [Family; 6] = [
            ("processes", "Processes that ran the program to its end.", None, |sums| Some(sums.processes)),
            ("live", "Bytes live at the ends, summed.", Some(Unit::Bytes), |sums| Some(sums.live)),
            ("live_blocks", "Blocks live at the ends, summed.", None, |sums| Some(sums.live_blocks)),
            ("peak_live", "The most bytes live at once in a process.", Some(Unit::Bytes), |sums| Some(sums.peak_live)),
            ("peak_mapped", "The most bytes that a process mapped itself.", Some(Unit::Bytes), |sums| {
                Some(sums.peak_mapped)
            }),
            ("peak_rss", "The most resident memory of a process.", Some(Unit::Bytes), |sums| sums.peak_rss),
        ];
        for (name, help, unit, value) in &gauges {
            let mut family = to.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
            for (program, sums) in &self.programs {
                let Some(value) = value(sums) else { continue };
                ConstGauge::new(value).encode(family.encode_family(&[("program", program.as_str())])?)?;
            }
        }
        let counters: [Family; 3] = [
            ("allocated", "Bytes ever allocated.", Some(Unit::Bytes), |sums| Some(sums.allocated)),
            ("freed", "Bytes ever freed.", Some(Unit::Bytes), |sums| Some(sums.freed)),
            ("allocations", "Blocks ever allocated.", None, |sums| Some(sums.allocations)),
        ];
        for (name, help, unit, value) in &counters {
            let mut family = to.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
            for (program, sums) in &self.programs {
                let Some(value) = value(sums) else { continue };
                ConstCounter::new(value).encode(family.encode_family(&[("program", program.as_str())])?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn a_report_reads_like_this() {
        let mut report = example();
        report.command[2] = "sort \"big\"\\\n".to_owned();
        report.processes.push(example().processes.remove(0));
        report.processes[1].rss_peak_bytes = None;
        let expected = r#"# HELP zm_run_command What was run.
# TYPE zm_run_command info
zm_run_command_info{command="sh -c sort \"big\"\\\n",backend="forward",backend_source="program"} 1
# HELP zm_run_wall_seconds From before the program was started until it had ended.
# TYPE zm_run_wall_seconds gauge
# UNIT zm_run_wall_seconds seconds
zm_run_wall_seconds 2.5
# HELP zm_run_exit_code The program's exit code.
# TYPE zm_run_exit_code gauge
zm_run_exit_code 3.0
# HELP zm_run_not_counted Programs whose heap is not in the figures, or not all of it.
# TYPE zm_run_not_counted gauge
zm_run_not_counted 1.0
# HELP zm_run_processes Processes that ran the program to its end.
# TYPE zm_run_processes gauge
zm_run_processes{program="/bin/sh"} 2
zm_run_processes{program="/usr/bin/sort"} 1
# HELP zm_run_live_bytes Bytes live at the ends, summed.
# TYPE zm_run_live_bytes gauge
# UNIT zm_run_live_bytes bytes
zm_run_live_bytes{program="/bin/sh"} 2468
zm_run_live_bytes{program="/usr/bin/sort"} 1234
# HELP zm_run_live_blocks Blocks live at the ends, summed.
# TYPE zm_run_live_blocks gauge
zm_run_live_blocks{program="/bin/sh"} 6
zm_run_live_blocks{program="/usr/bin/sort"} 3
# HELP zm_run_peak_live_bytes The most bytes live at once in a process.
# TYPE zm_run_peak_live_bytes gauge
# UNIT zm_run_peak_live_bytes bytes
zm_run_peak_live_bytes{program="/bin/sh"} 1048576
zm_run_peak_live_bytes{program="/usr/bin/sort"} 314572800
# HELP zm_run_peak_mapped_bytes The most bytes that a process mapped itself.
# TYPE zm_run_peak_mapped_bytes gauge
# UNIT zm_run_peak_mapped_bytes bytes
zm_run_peak_mapped_bytes{program="/bin/sh"} 1048576
zm_run_peak_mapped_bytes{program="/usr/bin/sort"} 1048576
# HELP zm_run_peak_rss_bytes The most resident memory of a process.
# TYPE zm_run_peak_rss_bytes gauge
# UNIT zm_run_peak_rss_bytes bytes
zm_run_peak_rss_bytes{program="/bin/sh"} 2097152
# HELP zm_run_allocated_bytes Bytes ever allocated.
# TYPE zm_run_allocated_bytes counter
# UNIT zm_run_allocated_bytes bytes
zm_run_allocated_bytes_total{program="/bin/sh"} 8388608
zm_run_allocated_bytes_total{program="/usr/bin/sort"} 1258291200
# HELP zm_run_freed_bytes Bytes ever freed.
# TYPE zm_run_freed_bytes counter
# UNIT zm_run_freed_bytes bytes
zm_run_freed_bytes_total{program="/bin/sh"} 8386140
zm_run_freed_bytes_total{program="/usr/bin/sort"} 1258289966
# HELP zm_run_allocations Blocks ever allocated.
# TYPE zm_run_allocations counter
zm_run_allocations_total{program="/bin/sh"} 40000
zm_run_allocations_total{program="/usr/bin/sort"} 20000
# EOF
"#;
        assert_eq!(String::from_utf8(write(&report)).unwrap(), expected);
    }

    #[test]
    fn every_family_is_documented() {
        let documented = include_str!("../../docs/run-exports.md");
        let mut report = example();
        report.signal = Some(9);
        let page = String::from_utf8(write(&report)).unwrap();
        let families: Vec<&str> =
            page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        assert!(families.len() > 12, "{page}");
        for family in families {
            assert!(documented.contains(&format!("`{family}`")), "{family}");
        }
    }
}
