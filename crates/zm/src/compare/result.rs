//! What a comparison found: the one structure that every form of output is written from.

use super::recommend::Recommendation;
use super::row::{OWN, Row};
use super::statistics::{self, Ratio, Spread, Verdict};
use super::trial::Sample;
use crate::format::{bytes, count, seconds};
use serde::Serialize;

/// The version of the JSON's keys. A key may be added to a version; none changes or goes.
pub const SCHEMA: &str = "zmalloc.compare.v1";

/// A comparison. The keys are documented in `docs/compare.md`.
#[derive(Debug, Serialize)]
pub struct Comparison {
    pub schema: &'static str,
    pub command: Vec<String>,
    pub load: Option<String>,
    pub runs: u32,
    pub warmup: u32,
    pub own_allocator: String,
    pub rows: Vec<RowResult>,
    pub recommendation: Recommendation,
    pub remarks: Vec<String>,
}

/// What is known of a row.
#[derive(Debug, Serialize)]
pub struct RowResult {
    pub name: String,
    pub backend: String,
    pub backend_source: String,
    pub variables: Vec<String>,
    pub broken: Option<String>,
    pub figures: Vec<Figure>,
    pub samples: Vec<Sample>,
}

/// A figure of a row, over all rounds; and beside that of the program's own allocator.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    pub name: &'static str,
    pub spread: Option<Spread>,
    pub to_own: Option<Ratio>,
}

/// A kind of figure. Of each, less is better.
pub struct Metric {
    /// Its key, which ends in its unit.
    pub key: &'static str,
    /// As the head of a column.
    pub head: &'static str,
    /// In a sentence.
    pub words: &'static str,
    value: fn(&Sample) -> Option<f64>,
    show: fn(f64) -> String,
}

/// How long it took.
pub const WALL: usize = 0;
/// Processor time.
pub const CPU: usize = 1;
/// The most resident memory.
pub const PEAK_RSS: usize = 3;
/// What is resident after the work.
pub const RSS_AFTER: usize = 4;

/// All kinds, in the order in which they are shown.
pub const METRICS: [Metric; 7] = [
    Metric {
        key: "wall_seconds",
        head: "time",
        words: "time",
        value: |sample| Some(sample.wall_seconds),
        show: seconds,
    },
    Metric {
        key: "cpu_seconds",
        head: "CPU",
        words: "CPU time",
        value: |sample| Some(sample.cpu_seconds),
        show: seconds,
    },
    Metric {
        key: "peak_live_bytes",
        head: "peak live",
        words: "peak live memory",
        value: |sample| sample.peak_live_bytes.map(|bytes| bytes as f64),
        show: |value| bytes(value as u64),
    },
    Metric {
        key: "peak_rss_bytes",
        head: "peak RSS",
        words: "peak RSS",
        value: |sample| sample.peak_rss_bytes.map(|bytes| bytes as f64),
        show: |value| bytes(value as u64),
    },
    Metric {
        key: "rss_after_bytes",
        head: "RSS after",
        words: "RSS after the work",
        value: |sample| sample.rss_after_bytes.map(|bytes| bytes as f64),
        show: |value| bytes(value as u64),
    },
    Metric {
        key: "fragmentation_ratio",
        head: "RSS/live",
        words: "fragmentation",
        value: |sample| sample.fragmentation_ratio,
        show: crate::format::ratio,
    },
    Metric {
        key: "page_faults",
        head: "page faults",
        words: "page faults",
        value: |sample| Some(sample.page_faults as f64),
        show: |value| count(value as u64),
    },
];

/// Puts the samples of each row, round by round, into figures.
pub fn summarize(rows: &[Row], samples: Vec<Vec<Sample>>, broken: Vec<Option<String>>) -> Vec<RowResult> {
    let comparisons = broken.iter().filter(|broken| broken.is_none()).count().saturating_sub(1);
    let of = |row: usize, metric: &Metric| samples[row].iter().map(metric.value).collect::<Vec<Option<f64>>>();
    let figures = |row: usize| {
        METRICS.iter().map(move |metric| {
            let values = of(row, metric);
            let known: Vec<f64> = values.iter().copied().flatten().collect();
            let to_own = (row != OWN).then(|| statistics::ratio(&of(OWN, metric), &values, comparisons)).flatten();
            Figure { name: metric.key, spread: statistics::spread(&known), to_own }
        })
    };
    let figures: Vec<Vec<Figure>> =
        (0..rows.len()).map(|row| if broken[row].is_some() { Vec::new() } else { figures(row).collect() }).collect();
    let parts = rows.iter().zip(samples).zip(broken).zip(figures);
    parts
        .map(|(((row, samples), broken), figures)| RowResult {
            name: row.name.clone(),
            backend: row.backend.name.to_owned(),
            backend_source: row.backend.source(),
            variables: row.variables.iter().map(|(variable, value)| format!("{variable}={value}")).collect(),
            broken,
            figures,
            samples,
        })
        .collect()
}

impl RowResult {
    /// The name, with where the allocator comes from, and what tunes it.
    pub fn description(&self) -> String {
        let mut text = self.name.clone();
        if self.backend != "forward" {
            let of = if self.name == self.backend { String::new() } else { format!("{}, ", self.backend) };
            text += &format!(" ({of}{})", self.backend_source);
        }
        for variable in &self.variables {
            text += &format!(" {variable}");
        }
        text
    }

    /// What is sure about a figure beside the program's own allocator: the ratio, or 1.
    pub fn sure(&self, metric: usize) -> f64 {
        let ratio = self.figures.get(metric).and_then(|figure| figure.to_own);
        ratio.filter(|ratio| matches!(ratio.verdict, Verdict::Better | Verdict::Worse)).map_or(1.0, |ratio| ratio.ratio)
    }
}

impl Figure {
    /// `812 ms ±2%`: the median, and how far half of the rounds were from it at most.
    pub fn median(&self, metric: &Metric) -> String {
        let Some(spread) = self.spread else { return "-".to_owned() };
        let far = (spread.quartile_high - spread.median).max(spread.median - spread.quartile_low);
        let text = (metric.show)(spread.median);
        let percent = if spread.median > 0.0 { far / spread.median * 100.0 } else { 0.0 };
        if percent < 0.5 { text } else { format!("{text} ±{percent:.0}%") }
    }

    /// `0.84`; `~1.02` where that is noise.
    pub fn ratio(&self) -> String {
        match self.to_own {
            None => "-".to_owned(),
            Some(Ratio { ratio, verdict: Verdict::Noise | Verdict::TooFew, .. }) => format!("~{ratio:.2}"),
            Some(Ratio { ratio, .. }) => format!("{ratio:.2}"),
        }
    }
}

/// `10 rounds after 1 to warm up, own allocator: the C library's`.
pub fn rounds(comparison: &Comparison) -> String {
    let rounds = if comparison.runs == 1 { "1 round".to_owned() } else { format!("{} rounds", comparison.runs) };
    format!("{rounds} after {} to warm up, own allocator: {}", comparison.warmup, comparison.own_allocator)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::compare::recommend::{How, recommend};
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    pub fn row(name: &str, backend: &'static str) -> Row {
        let library = (backend == "jemalloc").then(|| PathBuf::from("/lib/libjemalloc.so.2"));
        Row {
            name: name.to_owned(),
            backend: Backend { name: backend, object: &[], library, variable: None },
            variables: Vec::new(),
            is_counted: name != "bare",
        }
    }

    /// Ten rounds, each so many times as expensive as the program's own.
    pub fn samples(time: f64, memory: f64) -> Vec<Sample> {
        let round = |index: u32| {
            let sway = 1.0 + f64::from(index % 3) / 100.0;
            let bytes = |bytes: f64| Some((bytes * memory) as u64);
            Sample {
                wall_seconds: 2.0 * time * sway,
                cpu_seconds: 1.5 * time * sway,
                peak_live_bytes: Some(50 << 20),
                peak_rss_bytes: bytes(60e6),
                rss_after_bytes: bytes(40e6),
                fragmentation_ratio: Some(1.2 * memory),
                page_faults: 5000,
            }
        };
        (0..10).map(round).collect()
    }

    /// A comparison of rows with these costs, after bare and own; and its rows.
    pub fn comparison(others: &[(&str, f64, f64)], load: Option<&str>) -> (Comparison, Vec<Row>) {
        let mut rows = vec![row("bare", "forward"), row("own", "forward")];
        let mut costs = vec![samples(0.975, 1.0), samples(1.0, 1.0)];
        for (name, time, memory) in others {
            rows.push(row(name, if *name == "mimalloc" { "mimalloc" } else { "jemalloc" }));
            costs.push(samples(*time, *memory));
        }
        let broken = vec![None; rows.len()];
        let comparison = Comparison {
            schema: SCHEMA,
            command: vec!["/usr/bin/sort".to_owned(), "big.txt".to_owned()],
            load: load.map(str::to_owned),
            runs: 10,
            warmup: 1,
            own_allocator: "the C library's".to_owned(),
            rows: summarize(&rows, costs, broken),
            recommendation: Recommendation::default(),
            remarks: Vec::new(),
        };
        (comparison, rows)
    }

    /// A comparison with something in every place.
    pub fn example() -> Comparison {
        let (mut comparison, mut rows) = comparison(&[("je|narrow", 0.8, 1.002)], None);
        for sample in &mut comparison.rows[0].samples {
            (sample.peak_live_bytes, sample.rss_after_bytes, sample.fragmentation_ratio) = (None, None, None);
        }
        rows[2].variables = vec![("MALLOC_CONF".to_owned(), "narenas:1".to_owned())];
        rows.push(row("mimalloc", "mimalloc"));
        let mut samples: Vec<Vec<Sample>> = comparison.rows.into_iter().map(|row| row.samples).collect();
        samples.push(Vec::new());
        let why = Some("ends with SIGSEGV, on its own allocator with exit 0".to_owned());
        comparison.rows = summarize(&rows, samples, vec![None, None, None, why]);
        comparison.remarks = vec!["remark".to_owned()];
        comparison.recommendation = recommend(&comparison, &rows);
        // What is installed here is no part of the picture.
        comparison.recommendation.how = vec![How {
            place: "in the environment".to_owned(),
            lines: vec!["LD_PRELOAD=/lib/libjemalloc.so.2 sort big.txt".to_owned()],
        }];
        comparison
    }

    #[test]
    fn the_markdown_reads_like_this() {
        assert_eq!(
            String::from_utf8(super::super::markdown::write(&example())).unwrap(),
            include_str!("snapshots/compare.md")
        );
    }

    #[test]
    fn the_csv_reads_like_this() {
        assert_eq!(
            String::from_utf8(super::super::csv::write(&example())).unwrap(),
            include_str!("snapshots/compare.csv")
        );
    }

    #[test]
    fn the_text_reads_like_this() {
        use crate::compare::text::render;
        use crate::report::text::Style;
        let plain = render(&example(), Style { colored: false });
        assert_eq!(plain, include_str!("snapshots/compare.txt"));
        // Colours change nothing but colours.
        let mut colored = render(&example(), Style { colored: true });
        assert!(colored.contains("\x1b[32m0.80\x1b[0m"), "{colored}");
        while let Some(start) = colored.find('\x1b') {
            let end = start + colored[start..].find('m').unwrap();
            colored.replace_range(start..=end, "");
        }
        assert_eq!(colored, plain);
    }

    fn keys_of(value: &serde_json::Value, path: &str, keys: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(object) => {
                for (key, value) in object {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    keys.insert(path.clone());
                    keys_of(value, &path, keys);
                }
            }
            serde_json::Value::Array(values) => {
                values.iter().for_each(|value| keys_of(value, &format!("{path}[]"), keys));
            }
            _ => {}
        }
    }

    #[test]
    fn every_key_is_documented_and_every_documented_key_is_written() {
        let mut written = BTreeSet::new();
        keys_of(&serde_json::to_value(example()).unwrap(), "", &mut written);
        let text = include_str!("../../docs/compare.md");
        let documented = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let documented: BTreeSet<String> = documented.map(str::to_owned).collect();
        assert_eq!(written, documented);
        assert!(text.contains(SCHEMA));
    }
}
