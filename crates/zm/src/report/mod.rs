//! What a run was, in figures: the one structure that every form of output is written from.

pub mod csv;
pub mod markdown;
pub mod open_metrics;
pub mod published;
pub mod rows;
pub mod text;
pub mod timeline;

use crate::collect::{End, Image};
use crate::inspect::Reason;
use published::Published;
use serde::Serialize;
use timeline::Timeline;
use zmalloc::ledger::{Details, SIZE_CLASSES, size_class_limit};

/// The version of the JSON's keys. A key may be added to a version; none changes or goes.
pub const SCHEMA: &str = "zmalloc.run.v1";

/// A run. The keys are documented in `docs/run-json.md`.
#[derive(Debug, Serialize)]
pub struct Report {
    pub schema: &'static str,
    pub command: Vec<String>,
    pub program_pid: u32,
    pub backend: String,
    pub backend_source: String,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub wall_seconds: f64,
    pub limit_bytes: Option<u64>,
    pub tree_limit: Option<TreeLimit>,
    pub at_limit: Option<&'static str>,
    pub totals: Totals,
    pub processes: Vec<Process>,
    pub not_counted: Vec<NotCounted>,
    pub remarks: Vec<String>,
    pub timeline: Option<Timeline>,
}

impl Report {
    /// Why the program itself is not counted, or not to its end. A Go program is, as far as it goes.
    pub fn program_not_counted(&self) -> Option<&str> {
        let is_why = |entry: &&NotCounted| entry.pid == Some(self.program_pid) && entry.reason != Reason::Go.name();
        if let Some(entry) = self.not_counted.iter().find(is_why) {
            return Some(&entry.text);
        }
        let is_seen = self.processes.iter().any(|process| process.pid == self.program_pid);
        (!is_seen).then_some("it left no ledger")
    }
}

/// The limit of all processes together, and what it refused.
#[derive(Debug, Serialize)]
pub struct TreeLimit {
    pub bytes: u64,
    pub refusals: u64,
    pub refused_first: Option<TreeRefusal>,
}

/// The first request that it refused.
#[derive(Debug, Serialize)]
pub struct TreeRefusal {
    pub seconds: f64,
    pub pid: u32,
    pub wanted_bytes: u64,
    pub largest_pid: u32,
    pub largest_bytes: u64,
}

/// Sums over all processes.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub processes: u64,
    pub allocated_bytes_total: u64,
    pub freed_bytes_total: u64,
    pub allocations_total: u64,
    pub used_peak_bytes_at_most: u64,
}

/// One program that a process was.
#[derive(Debug, Serialize)]
pub struct Process {
    pub pid: u32,
    pub parent_pid: u32,
    pub exe: String,
    pub command: Vec<String>,
    pub backend: String,
    pub ended: &'static str,
    pub started_seconds: f64,
    pub seconds: f64,
    pub threads: u64,
    pub used_bytes: u64,
    pub used_peak_bytes: u64,
    pub inherited_bytes: u64,
    pub mapped_bytes: u64,
    pub mapped_peak_bytes: u64,
    pub allocated_bytes_total: u64,
    pub freed_bytes_total: u64,
    pub allocated_bytes_per_second: Option<f64>,
    pub allocations_total: u64,
    pub live_blocks: u64,
    pub rss_peak_bytes: Option<u64>,
    pub rss_peak_source: Option<&'static str>,
    pub rss_end_bytes: Option<u64>,
    pub refusals: u64,
    pub refused_first_seconds: Option<f64>,
    pub limit_set_bytes: Option<u64>,
    pub fragmentation_ratio: Option<f64>,
    pub size_classes: Vec<SizeClass>,
    pub published: Option<Published>,
}

/// Blocks of similar size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SizeClass {
    pub from_bytes: u64,
    pub to_bytes: Option<u64>,
    pub live_blocks: u64,
    pub live_bytes: u64,
    pub allocations_total: u64,
    pub allocated_bytes_total: u64,
}

/// A program whose heap is not in the figures, or not all of it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct NotCounted {
    pub exe: String,
    pub pid: Option<u32>,
    pub reason: &'static str,
    pub text: String,
}

impl NotCounted {
    /// The remark that `exe` is not counted for this reason.
    pub fn new(exe: &str, pid: Option<u32>, reason: Reason) -> NotCounted {
        let text = format!("{} {}", short_name(exe), reason.explanation());
        NotCounted { exe: exe.to_owned(), pid, reason: reason.name(), text }
    }
}

/// Where a peak of resident memory is known from.
pub const RSS_FROM_EXIT: &str = "exit";
/// The kernel's account of an ended process.
pub const RSS_FROM_WAIT: &str = "wait";
/// Looked at from outside, every so often.
pub const RSS_FROM_SAMPLES: &str = "sampled";

impl Process {
    /// The figures of a collected image. `waited_peak` is the kernel's peak of resident memory, where it is known to be
    /// this image's; `first_ns`, when the first of the run started.
    pub fn new(image: &Image, waited_peak: Option<u64>, first_ns: u64) -> Process {
        let snapshot = &image.snapshot;
        let own = snapshot.own_totals();
        // A segment may be damaged: sums wrap rather than panic.
        let blocks = snapshot.details.classes.iter().fold(0u64, |sum, class| sum.wrapping_add(class.blocks_allocated));
        let seconds = image.ended_ns.saturating_sub(snapshot.started_ns) as f64 / 1e9;
        let (rss_peak_bytes, rss_peak_source) = match (snapshot.resident_peak_bytes, waited_peak) {
            (Some(noted), _) => (Some(noted), Some(RSS_FROM_EXIT)),
            (None, Some(waited)) => (Some(waited), Some(RSS_FROM_WAIT)),
            (None, None) => (image.resident_peak_seen, image.resident_peak_seen.map(|_| RSS_FROM_SAMPLES)),
        };
        let fragmentation = rss_peak_bytes
            .filter(|_| snapshot.used_peak_bytes > 0)
            .map(|rss| rss as f64 / snapshot.used_peak_bytes as f64);
        Process {
            pid: snapshot.pid,
            parent_pid: snapshot.parent_pid,
            exe: snapshot.executable.clone(),
            command: snapshot.command.clone(),
            backend: snapshot.backend.clone(),
            ended: match image.end {
                End::Exit => "exit",
                End::Exec => "exec",
                End::Killed => "killed",
                End::Replaced => "replaced",
                End::Unknown => "unknown",
                End::Running => "running",
            },
            started_seconds: snapshot.started_ns.saturating_sub(first_ns) as f64 / 1e9,
            seconds,
            threads: snapshot.threads as u64,
            used_bytes: snapshot.totals.live_bytes(),
            used_peak_bytes: snapshot.used_peak_bytes,
            inherited_bytes: snapshot.inherited.live_bytes(),
            mapped_bytes: snapshot.mapped_bytes,
            mapped_peak_bytes: snapshot.mapped_peak_bytes,
            allocated_bytes_total: own.allocated_bytes,
            freed_bytes_total: own.freed_bytes,
            allocated_bytes_per_second: (seconds > 0.0).then(|| own.allocated_bytes as f64 / seconds),
            allocations_total: blocks.wrapping_sub(snapshot.inherited_blocks),
            live_blocks: snapshot.details.classes.iter().fold(0u64, |sum, class| sum.wrapping_add(class.blocks_live())),
            rss_peak_bytes,
            rss_peak_source,
            rss_end_bytes: snapshot.resident_end_bytes,
            refusals: snapshot.refusals,
            refused_first_seconds: snapshot
                .refused_first_ns
                .map(|refused| refused.saturating_sub(snapshot.started_ns) as f64 / 1e9),
            limit_set_bytes: snapshot.limit_set.flatten(),
            fragmentation_ratio: fragmentation,
            size_classes: size_classes(&snapshot.details),
            published: image.published.as_ref().map(Published::new),
        }
    }

    /// Whether it was a fork that only lasted until its exec, as shells make them.
    pub fn became_program(&self) -> bool {
        self.ended == "exec" && self.inherited_bytes > 0
    }

    /// The program's name, without the directory.
    pub fn name(&self) -> &str {
        short_name(&self.exe)
    }
}

impl Totals {
    /// The sums of these processes.
    pub fn of(processes: &[Process]) -> Totals {
        let start = Totals { used_peak_bytes_at_most: peak_at_most(processes), ..Totals::default() };
        processes.iter().fold(start, |sum, process| Totals {
            processes: sum.processes + 1,
            allocated_bytes_total: sum.allocated_bytes_total.saturating_add(process.allocated_bytes_total),
            freed_bytes_total: sum.freed_bytes_total.saturating_add(process.freed_bytes_total),
            allocations_total: sum.allocations_total.saturating_add(process.allocations_total),
            ..sum
        })
    }
}

/// What all processes together had live at most: the most, over time, of the sum of the peaks of those that were there.
fn peak_at_most(processes: &[Process]) -> u64 {
    let mut changes: Vec<(f64, bool, u64)> = Vec::with_capacity(2 * processes.len());
    for process in processes {
        let start = process.started_seconds;
        changes.push((start, true, process.used_peak_bytes));
        // One without time was there, too.
        changes.push((start + process.seconds.max(1e-9), false, process.used_peak_bytes));
    }
    // A process that ends when another starts is not there with it; unless it had no time at all.
    changes.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
    let (mut now, mut most) = (0u64, 0u64);
    for (_, starts, peak) in changes {
        now = if starts { now.saturating_add(peak) } else { now.saturating_sub(peak) };
        most = most.max(now);
    }
    most.max(processes.iter().map(|process| process.used_peak_bytes).max().unwrap_or(0))
}

/// The classes that were ever used, the smallest first.
pub fn size_classes(details: &Details) -> Vec<SizeClass> {
    let classes = details.classes.iter().enumerate();
    let used = classes.filter(|(_, class)| class.blocks_allocated != 0);
    used.map(|(index, class)| SizeClass {
        from_bytes: if index == 0 { 0 } else { size_class_limit(index - 1) as u64 + 1 },
        to_bytes: (index + 1 < SIZE_CLASSES).then(|| size_class_limit(index) as u64),
        live_blocks: class.blocks_live(),
        live_bytes: class.bytes_live(),
        allocations_total: class.blocks_allocated,
        allocated_bytes_total: class.bytes_allocated,
    })
    .collect()
}

/// A path's last part.
pub fn short_name(path: &str) -> &str {
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or("?")
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// A report with something in every place.
    pub fn example() -> Report {
        let process = |pid: u32, exe: &str, peak: u64, ended| Process {
            pid,
            parent_pid: 100,
            exe: exe.to_owned(),
            command: vec![exe.to_owned()],
            backend: "forward".to_owned(),
            ended,
            started_seconds: 0.25,
            seconds: 2.0,
            threads: 1,
            used_bytes: 1234,
            used_peak_bytes: peak,
            inherited_bytes: 0,
            mapped_bytes: 0,
            mapped_peak_bytes: 1 << 20,
            allocated_bytes_total: 4 * peak,
            freed_bytes_total: 4 * peak - 1234,
            allocated_bytes_per_second: Some(2.0 * peak as f64),
            allocations_total: 20_000,
            live_blocks: 3,
            rss_peak_bytes: Some(2 * peak),
            rss_peak_source: Some(if ended == "exit" { RSS_FROM_EXIT } else { RSS_FROM_SAMPLES }),
            rss_end_bytes: (ended == "exit").then_some(peak),
            refusals: 0,
            refused_first_seconds: None,
            limit_set_bytes: None,
            fragmentation_ratio: Some(2.0),
            size_classes: vec![
                SizeClass {
                    from_bytes: 21,
                    to_bytes: Some(24),
                    live_blocks: 2,
                    live_bytes: 48,
                    allocations_total: 19_000,
                    allocated_bytes_total: 456_000,
                },
                SizeClass {
                    from_bytes: 1 << 20,
                    to_bytes: None,
                    live_blocks: 1,
                    live_bytes: 1186,
                    allocations_total: 1000,
                    allocated_bytes_total: 4 * peak - 456_000,
                },
            ],
            published: None,
        };
        let processes =
            vec![process(101, "/bin/sh", 1 << 20, "exit"), process(102, "/usr/bin/sort", 300 << 20, "killed")];
        Report {
            schema: SCHEMA,
            command: vec!["sh".to_owned(), "-c".to_owned(), "sort big".to_owned()],
            program_pid: 101,
            backend: "forward".to_owned(),
            backend_source: "program".to_owned(),
            exit_code: Some(3),
            signal: None,
            wall_seconds: 2.5,
            limit_bytes: None,
            tree_limit: Some(TreeLimit {
                bytes: 1 << 30,
                refusals: 2,
                refused_first: Some(TreeRefusal {
                    seconds: 1.5,
                    pid: 102,
                    wanted_bytes: 4096,
                    largest_pid: 102,
                    largest_bytes: 300 << 20,
                }),
            }),
            at_limit: Some("refuse"),
            totals: Totals::of(&processes),
            processes,
            not_counted: vec![NotCounted::new("/usr/bin/go", Some(103), Reason::Go)],
            remarks: vec!["remark".to_owned()],
            timeline: None,
        }
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
        let mut report = example();
        let mut timeline = Timeline::new(0.5);
        timeline.push(timeline::Sample { seconds: 0.5, processes: 2, used_bytes: 1, mapped_bytes: 2, rss_bytes: 3 });
        report.timeline = Some(timeline);
        report.processes[1].published = Some(Published {
            backend: "jemalloc".to_owned(),
            used_bytes: 1000,
            used_peak_bytes: 2000,
            allocated_bytes_total: 5000,
            freed_bytes_total: 4000,
            threads: Some(2),
            at_exit: true,
            size_classes: vec![report.processes[1].size_classes[0].clone()],
            scopes_total: 1,
            scopes: vec![published::ScopeRow {
                name: "tenants".to_owned(),
                path: "tenants".to_owned(),
                parent: None,
                own_used_bytes: 0,
                used_bytes: -3,
                used_peak_bytes: 0,
                allocated_bytes_total: 0,
                freed_bytes_total: 3,
                entered_total: 1,
                limit_bytes_soft: None,
                limit_bytes_hard: None,
            }],
        });
        keys_of(&serde_json::to_value(report).unwrap(), "", &mut written);
        let documented = include_str!("../../docs/run-json.md").lines();
        let documented = documented.filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let documented: BTreeSet<String> = documented.map(str::to_owned).collect();
        assert_eq!(written, documented);
    }

    #[test]
    fn peaks_add_up_where_processes_were_there_together() {
        let mut processes = example().processes;
        processes.push(example().processes.remove(0));
        let spans = [(0.0, 2.0), (1.0, 1.0), (2.0, 1.0)];
        for (process, (started, seconds)) in processes.iter_mut().zip(spans) {
            (process.started_seconds, process.seconds) = (started, seconds);
        }
        (processes[0].used_peak_bytes, processes[1].used_peak_bytes, processes[2].used_peak_bytes) = (10, 5, 12);
        assert_eq!(Totals::of(&processes).used_peak_bytes_at_most, 15);
        processes[2].started_seconds = 1.5;
        assert_eq!(Totals::of(&processes).used_peak_bytes_at_most, 27);
        assert_eq!(Totals::of(&[]).used_peak_bytes_at_most, 0);
    }

    #[test]
    fn every_reason_is_documented() {
        let text = include_str!("../../docs/run-json.md");
        for reason in [
            Reason::Static,
            Reason::Privileged,
            Reason::OtherLibc,
            Reason::OtherMachine,
            Reason::OwnMalloc,
            Reason::Go,
            Reason::NotLoaded,
            Reason::Replaced,
        ] {
            assert!(text.contains(&format!("`{}`", reason.name())), "{reason:?}");
        }
        assert!(text.contains(SCHEMA));
    }
}
