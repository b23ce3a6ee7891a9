//! Limits, and whether a run kept them.

use super::arguments::Check;
use super::figures::{Class, Figures, Program};
use crate::format::{bound, bytes, count, exact_bytes};
use crate::quantity::Tolerance;
use crate::report::short_name;
use crate::report::text::range;
use std::collections::BTreeMap;

/// A figure, held against a limit.
#[derive(Debug)]
pub struct Gate {
    /// The figure, in words.
    pub what: &'static str,
    /// What it is in this run.
    pub value: u64,
    /// What it may be at most, without the tolerance.
    pub limit: u64,
    /// Whether it is no more than that and the tolerance.
    pub holds: bool,
    /// Where the limit comes from.
    pub source: Source,
    /// Whose it is, or what grew: a line each, the most first.
    pub details: Vec<String>,
    shown: fn(u64) -> String,
}

/// Where a limit comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// This option.
    Option(&'static str),
    /// The file of an earlier run.
    Baseline,
}

/// A figure that limits are about.
struct Figure {
    what: &'static str,
    is_size: bool,
    /// Whether a program's is added to that of others, or the largest counts.
    is_sum: bool,
    of_program: fn(&Program) -> u64,
    of_class: Option<fn(&Class) -> u64>,
}

const PEAK: Figure =
    Figure { what: "peak live", is_size: true, is_sum: false, of_program: |program| program.peak, of_class: None };
const LIVE: Figure = Figure {
    what: "live at exit",
    is_size: true,
    is_sum: true,
    of_program: |program| program.live_at_exit,
    of_class: Some(|class| class.live),
};
const ALLOCATED: Figure = Figure {
    what: "allocated",
    is_size: true,
    is_sum: true,
    of_program: |program| program.allocated,
    of_class: Some(|class| class.allocated),
};
const ALLOCATIONS: Figure = Figure {
    what: "allocations",
    is_size: false,
    is_sum: true,
    of_program: |program| program.allocations,
    of_class: Some(|class| class.allocations),
};
const RSS: Figure =
    Figure { what: "peak RSS", is_size: true, is_sum: false, of_program: |program| program.rss, of_class: None };

/// Programs, and size classes of each, that a failed gate names.
const NAMED: usize = 3;

/// Holds a run against all limits that are asked for.
pub fn gates(arguments: &Check, now: &Figures, baseline: Option<&Figures>) -> Vec<Gate> {
    let tolerance = arguments.tolerance;
    let limits = [
        (&PEAK, arguments.max_peak, "--max-peak"),
        (&LIVE, arguments.max_live_at_exit, "--max-live-at-exit"),
        (&ALLOCATED, arguments.max_allocated, "--max-allocated"),
        (&ALLOCATIONS, arguments.max_allocations, "--max-allocations"),
        (&RSS, arguments.max_rss, "--max-rss"),
    ];
    let limits = limits.into_iter().filter_map(|(figure, limit, option)| {
        Some(figure.gate(now, baseline, limit?, tolerance, Source::Option(option)))
    });
    let tree = arguments.max_peak_tree.zip(now.peak_tree).map(|(limit, value)| Gate {
        what: "peak live of all together",
        value,
        limit,
        holds: value <= allowed(limit, tolerance, true),
        source: Source::Option("--max-peak-tree"),
        details: if value > allowed(limit, tolerance, true) { PEAK.details(now, None) } else { Vec::new() },
        shown: size,
    });
    let grown = [&PEAK, &LIVE, &ALLOCATED, &ALLOCATIONS].into_iter().filter_map(|figure| {
        let before = baseline?;
        Some(figure.gate(now, baseline, figure.of(before), tolerance, Source::Baseline))
    });
    limits.chain(tree).chain(grown).collect()
}

impl Figure {
    fn of(&self, figures: &Figures) -> u64 {
        if self.is_sum { figures.sum(self.of_program) } else { figures.most(self.of_program) }
    }

    fn gate(&self, now: &Figures, before: Option<&Figures>, limit: u64, tolerance: Tolerance, source: Source) -> Gate {
        let value = self.of(now);
        let holds = value <= allowed(limit, tolerance, self.is_size);
        let details = if holds { Vec::new() } else { self.details(now, before) };
        Gate { what: self.what, value, limit, holds, source, details, shown: if self.is_size { size } else { count } }
    }

    /// The programs with most of it; with a baseline, those that grew most.
    fn details(&self, now: &Figures, before: Option<&Figures>) -> Vec<String> {
        let nothing = Program::default();
        let shown = if self.is_size { bytes } else { count };
        let mut programs: Vec<(&String, &Program, Option<&Program>, u64)> = now
            .programs
            .iter()
            .map(|(exe, program)| {
                let earlier = before.map(|before| before.programs.get(exe).unwrap_or(&nothing));
                let was = earlier.map_or(0, self.of_program);
                (exe, program, earlier, (self.of_program)(program).saturating_sub(was))
            })
            .filter(|(.., grown)| *grown > 0)
            .collect();
        programs.sort_by_key(|(.., grown)| std::cmp::Reverse(*grown));
        let lines = programs.iter().take(NAMED).map(|(exe, program, earlier, grown)| {
            let value = (self.of_program)(program);
            let mut line = match earlier {
                Some(earlier) => {
                    let was = (self.of_program)(earlier);
                    format!("{}: {} to {}, {} more", short_name(exe), shown(was), shown(value), shown(*grown))
                }
                None => format!("{}: {}", short_name(exe), shown(value)),
            };
            if let Some(of_class) = self.of_class {
                line += &classes(&program.classes, earlier.map(|earlier| &earlier.classes), of_class, shown);
            }
            line
        });
        lines.collect()
    }
}

/// `; blocks of 21 to 24 B: 48 B`: the size classes with most of it, or that grew most.
fn classes(
    now: &BTreeMap<u64, Class>,
    before: Option<&BTreeMap<u64, Class>>,
    of_class: fn(&Class) -> u64,
    shown: fn(u64) -> String,
) -> String {
    let was = |from: &u64| before.and_then(|before| before.get(from)).map_or(0, of_class);
    let mut grown: Vec<(&u64, &Class, u64)> =
        now.iter().map(|(from, class)| (from, class, of_class(class).saturating_sub(was(from)))).collect();
    grown.retain(|(.., grown)| *grown > 0);
    grown.sort_by_key(|(.., grown)| std::cmp::Reverse(*grown));
    let parts: Vec<String> = grown
        .iter()
        .take(NAMED)
        .map(|(from, class, grown)| {
            let range = match class.to {
                Some(to) => range(**from, to),
                None => format!("{} and more", bound(**from)),
            };
            format!("{range}: {}{}", if before.is_some() { "+" } else { "" }, shown(*grown))
        })
        .collect();
    if parts.is_empty() { String::new() } else { format!("; in blocks of {}", parts.join(", ")) }
}

fn allowed(limit: u64, tolerance: Tolerance, is_size: bool) -> u64 {
    match tolerance {
        Tolerance::Part(part) => limit.saturating_add((limit as f64 * part) as u64),
        Tolerance::Bytes(bytes) if is_size => limit.saturating_add(bytes),
        Tolerance::Bytes(_) => limit,
    }
}

/// Both to read and to compare: `1.2 KiB (1,234 bytes)`.
fn size(value: u64) -> String {
    if value < 1024 { exact_bytes(value) } else { format!("{} ({})", bytes(value), exact_bytes(value)) }
}

impl Gate {
    /// `peak live: 12.3 MiB (12,897,484 bytes), at most 300.0 MiB (…) by --max-peak`.
    pub fn sentence(&self) -> String {
        let (value, limit) = ((self.shown)(self.value), (self.shown)(self.limit));
        match self.source {
            Source::Option(option) => format!("{}: {value}, at most {limit} by {option}", self.what),
            Source::Baseline if self.limit > 0 && self.value != self.limit => {
                let percent = (self.value as f64 / self.limit as f64 - 1.0) * 100.0;
                format!("{}: {value}, {limit} in the baseline, {percent:+.1} %", self.what)
            }
            Source::Baseline => format!("{}: {value}, {limit} in the baseline", self.what),
        }
    }

    #[cfg(test)]
    pub fn of(what: &'static str, value: u64, limit: u64, holds: bool, source: Source, details: Vec<String>) -> Gate {
        Gate { what, value, limit, holds, source, details, shown: size }
    }

    /// The limit alone: `peak live by --max-peak`, `peak live by the baseline`.
    pub fn name(&self) -> String {
        match self.source {
            Source::Option(option) => format!("{} by {option}", self.what),
            Source::Baseline => format!("{} by the baseline", self.what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use crate::report::tests::example;
    use clap::Parser;

    fn arguments(options: &[&str]) -> Check {
        let words = ["zm", "check"].iter().chain(options).chain(&["--", "x"]);
        match Cli::try_parse_from(words).unwrap().command {
            Command::Check(check) => check,
            other => panic!("{other:?}"),
        }
    }

    fn held(options: &[&str]) -> Vec<bool> {
        let now = Figures::of(&example());
        gates(&arguments(options), &now, None).iter().map(|gate| gate.holds).collect()
    }

    /// The example has sh, which exited with 1234 bytes, and sort, with a peak of 300 MiB, which was killed.
    #[test]
    fn a_limit_holds_to_the_byte() {
        for (option, value) in [
            ("--max-peak", 300 << 20),
            ("--max-live-at-exit", 1234),
            ("--max-allocated", 4 * (301 << 20)),
            ("--max-allocations", 40_000),
            ("--max-rss", 600 << 20),
            ("--max-peak-tree", 301 << 20),
        ] {
            assert_eq!(held(&[option, &value.to_string()]), [true], "{option}");
            assert_eq!(held(&[option, &(value - 1).to_string()]), [false], "{option}");
            assert_eq!(held(&[option, &(value - 1).to_string(), "--tolerance", "1%"]), [true], "{option}");
        }
        assert_eq!(held(&["--max-live-at-exit", "1000", "--tolerance", "234"]), [true]);
        assert_eq!(held(&["--max-live-at-exit", "1000", "--tolerance", "233"]), [false]);
        // A tolerance in bytes is for sizes.
        assert_eq!(held(&["--max-allocations", "39999", "--tolerance", "1M"]), [false]);
        assert_eq!(held(&["--max-peak", "1G", "--max-rss", "1K"]), [true, false]);
    }

    #[test]
    fn what_grew_is_named() {
        let before = Figures::of(&example());
        let mut report = example();
        assert!(gates(&arguments(&["--baseline", "f"]), &before, Some(&before)).iter().all(|gate| gate.holds));

        let sh = &mut report.processes[0];
        (sh.allocated_bytes_total, sh.allocations_total) = (sh.allocated_bytes_total + 480, sh.allocations_total + 20);
        sh.size_classes[0].allocated_bytes_total += 480;
        sh.size_classes[0].live_bytes += 480;
        sh.size_classes[0].allocations_total += 20;
        let now = Figures::of(&report);
        let gates = gates(&arguments(&["--baseline", "f", "--tolerance", "0.01%"]), &now, Some(&before));
        let failed: Vec<(&str, &[String])> =
            gates.iter().filter(|gate| !gate.holds).map(|gate| (gate.what, gate.details.as_slice())).collect();
        assert_eq!(
            failed,
            [
                (
                    "live at exit",
                    &["sh: 1.2 KiB to 1.7 KiB, 480 B more; in blocks of 21 to 24 B: +480 B".to_owned()][..]
                ),
                ("allocations", &["sh: 20,000 to 20,020, 20 more; in blocks of 21 to 24 B: +20".to_owned()][..]),
            ]
        );
        let sentence = gates.iter().find(|gate| !gate.holds).unwrap().sentence();
        assert_eq!(sentence, "live at exit: 1.7 KiB (1,714 bytes), 1.2 KiB (1,234 bytes) in the baseline, +38.9 %");
    }

    #[test]
    fn a_new_program_grew_from_nothing() {
        let mut before = example();
        before.processes.truncate(1);
        let (before, now) = (Figures::of(&before), Figures::of(&example()));
        let gates = gates(&arguments(&["--baseline", "f"]), &now, Some(&before));
        assert_eq!(gates[0].details, ["sort: 0 B to 300.0 MiB, 300.0 MiB more"]);
    }
}
