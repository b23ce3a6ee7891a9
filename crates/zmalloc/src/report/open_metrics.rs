//! Figures for Prometheus: families of metrics, and the text of them.

use super::Report;
use core::fmt::{self, Write};

/// A family of metrics, as [OpenMetrics](https://prometheus.io/docs/specs/om/open_metrics_spec/) has it: samples of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricFamily<'figures> {
    /// Its name, which ends in the unit; the samples of a counter have `_total` after it.
    pub name: &'static str,
    /// What its values do.
    pub kind: MetricKind,
    /// The unit, or empty for a number of things.
    pub unit: &'static str,
    /// What it is, in a sentence.
    pub help: &'static str,
    /// Its values, in the order of their scopes.
    pub samples: Vec<MetricSample<'figures>>,
}

/// What the values of a [`MetricFamily`] do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// They only grow.
    Counter,
    /// They rise and fall.
    Gauge,
}

/// One value of a [`MetricFamily`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricSample<'figures> {
    /// The label `scope`: a scope's path; `None` for what is not by scope.
    pub scope: Option<&'figures str>,
    /// The value, in the family's unit. Counters are below 2⁶⁴ and gauges fit in 64 bits, with their sign.
    pub value: i128,
}

impl Report {
    /// The figures that are known as families of metrics; sizes in bytes.
    ///
    /// | family | type | is |
    /// |---|---|---|
    /// | `zmalloc_used_bytes`, `zmalloc_peak_bytes` | gauge | the fields |
    /// | `zmalloc_allocated_bytes`, `zmalloc_freed_bytes` | counter | [`allocated_total`](Report::allocated_total), [`freed_total`](Report::freed_total) |
    /// | `zmalloc_requested_bytes`, `zmalloc_live_blocks`, `zmalloc_threads` | gauge | [`requested`](Report::requested), live blocks of the details, [`threads`](Report::threads) |
    /// | `zmalloc_resident_bytes`, `zmalloc_private_dirty_bytes` | gauge | [`rss`](Report::rss), [`private_dirty`](Report::private_dirty) |
    /// | `zmalloc_physical_memory_bytes`, `zmalloc_cgroup_limit_bytes` | gauge | [`memory_size`](Report::memory_size) |
    /// | `zmalloc_allocator_allocated_bytes`, `..._active_bytes`, `..._resident_bytes`, `..._retained_bytes`, `..._muzzy_bytes` | gauge | the allocator's own |
    pub fn metric_families(&self) -> Vec<MetricFamily<'static>> {
        use MetricKind::{Counter, Gauge};
        let statistics = self.allocator.map(|allocator| allocator.statistics).unwrap_or_default();
        let bytes = |name, help, value: Option<usize>| (name, Gauge, "bytes", help, value.map(|value| value as i128));
        let figures = [
            bytes("zmalloc_used_bytes", "Bytes of all blocks that live.", Some(self.used)),
            bytes("zmalloc_peak_bytes", "The most bytes that ever lived.", Some(self.peak)),
            (
                "zmalloc_allocated_bytes",
                Counter,
                "bytes",
                "Bytes of all blocks ever handed out.",
                Some(self.allocated_total.into()),
            ),
            (
                "zmalloc_freed_bytes",
                Counter,
                "bytes",
                "Bytes of all blocks ever taken back.",
                Some(self.freed_total.into()),
            ),
            (
                "zmalloc_requested_bytes",
                Gauge,
                "bytes",
                "Bytes asked for by the blocks that live.",
                self.requested().map(i128::from),
            ),
            (
                "zmalloc_live_blocks",
                Gauge,
                "",
                "Blocks that live.",
                self.details.map(|details| details.blocks_live().into()),
            ),
            (
                "zmalloc_threads",
                Gauge,
                "",
                "Threads alive that have allocated or freed.",
                self.threads.map(|threads| threads as i128),
            ),
            bytes("zmalloc_resident_bytes", "The process's pages in RAM.", self.rss),
            bytes("zmalloc_private_dirty_bytes", "Pages that are the process's alone.", self.private_dirty),
            bytes("zmalloc_physical_memory_bytes", "The machine's memory.", self.memory_size.physical),
            bytes("zmalloc_cgroup_limit_bytes", "The lowest limit of the cgroups.", self.memory_size.cgroup_limit),
            bytes("zmalloc_allocator_allocated_bytes", "The allocator's live blocks.", statistics.allocated),
            bytes("zmalloc_allocator_active_bytes", "The allocator's pages with blocks.", statistics.active),
            bytes("zmalloc_allocator_resident_bytes", "The allocator's pages in RAM.", statistics.resident),
            bytes("zmalloc_allocator_retained_bytes", "Address space kept without memory.", statistics.retained),
            bytes("zmalloc_allocator_muzzy_bytes", "Unused pages on their way back.", statistics.muzzy),
        ];
        let known = figures.into_iter().filter_map(|(name, kind, unit, help, value)| {
            let samples = vec![MetricSample { scope: None, value: value? }];
            Some(MetricFamily { name, kind, unit, help, samples })
        });
        known.collect()
    }

    /// The [families](Report::metric_families) in the OpenMetrics text format, 1.0; its media type is
    /// `application/openmetrics-text; version=1.0.0; charset=utf-8`.
    pub fn to_open_metrics(&self) -> String {
        open_metrics(&self.metric_families())
    }
}

/// The text of families whose names differ.
pub(crate) fn open_metrics(families: &[MetricFamily<'_>]) -> String {
    let mut text = String::new();
    let written = families.iter().try_for_each(|family| family.write(&mut text));
    written.and_then(|()| writeln!(text, "# EOF")).expect("a string takes all");
    text
}

impl MetricFamily<'_> {
    /// Writes the head and the samples.
    fn write(&self, text: &mut String) -> fmt::Result {
        let MetricFamily { name, kind, unit, help, samples } = self;
        let (kind, suffix) = match kind {
            MetricKind::Counter => ("counter", "_total"),
            MetricKind::Gauge => ("gauge", ""),
        };
        writeln!(text, "# TYPE {name} {kind}")?;
        if !unit.is_empty() {
            writeln!(text, "# UNIT {name} {unit}")?;
        }
        writeln!(text, "# HELP {name} {help}")?;
        samples.iter().try_for_each(|MetricSample { scope, value }| match scope {
            Some(path) => writeln!(text, "{name}{suffix}{{scope=\"{}\"}} {value}", Escaped(path)),
            None => writeln!(text, "{name}{suffix} {value}"),
        })
    }
}

/// A label's value.
struct Escaped<'value>(&'value str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            other => f.write_char(other),
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::{empty_example, example};

    #[test]
    fn every_figure_of_a_full_report() {
        let text = example().to_open_metrics();
        assert!(text.starts_with(
            "# TYPE zmalloc_used_bytes gauge\n# UNIT zmalloc_used_bytes bytes\n\
             # HELP zmalloc_used_bytes Bytes of all blocks that live.\nzmalloc_used_bytes 104857600\n"
        ));
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            "zmalloc_used_bytes 104857600",
            "zmalloc_peak_bytes 167772160",
            "zmalloc_allocated_bytes_total 3221225472",
            "zmalloc_freed_bytes_total 3116367872",
            "zmalloc_requested_bytes 94371840",
            "zmalloc_live_blocks 7",
            "zmalloc_threads 4",
            "zmalloc_resident_bytes 157286400",
            "zmalloc_private_dirty_bytes 146804736",
            "zmalloc_physical_memory_bytes 17179869184",
            "zmalloc_cgroup_limit_bytes 536870912",
            "zmalloc_allocator_allocated_bytes 109051904",
            "zmalloc_allocator_active_bytes 136314880",
            "zmalloc_allocator_resident_bytes 149946368",
            "zmalloc_allocator_retained_bytes 8388608",
            "zmalloc_allocator_muzzy_bytes 0",
        ];
        assert_eq!(samples, expected);
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let names: Vec<_> = empty_example().metric_families().iter().map(|family| family.name).collect();
        let expected = ["zmalloc_used_bytes", "zmalloc_peak_bytes", "zmalloc_allocated_bytes", "zmalloc_freed_bytes"];
        assert_eq!(names, expected);
    }
}
