//! The figures that limits are about: read from the JSON of a run, be it this one or an earlier one.

use crate::error::Error;
use crate::report::{Report, SCHEMA};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A run, as far as limits are about it.
#[derive(Debug)]
pub struct Figures {
    /// Its programs, by the paths of their executables.
    pub programs: BTreeMap<String, Program>,
    /// What all processes together had live at most; an older file may not say.
    pub peak_tree: Option<u64>,
}

/// The processes of one program.
#[derive(Debug, Default)]
pub struct Program {
    /// The most live bytes of one of them.
    pub peak: u64,
    /// Bytes that those which ended in order allocated and did not free.
    pub live_at_exit: u64,
    /// Bytes ever allocated.
    pub allocated: u64,
    /// Blocks ever allocated.
    pub allocations: u64,
    /// The most resident memory of one of them, where it is known.
    pub rss: u64,
    /// Their blocks by size class, from its lowest size.
    pub classes: BTreeMap<u64, Class>,
}

/// Blocks of similar size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Class {
    /// The largest of the class; nothing, if there is no limit.
    pub to: Option<u64>,
    /// Bytes live at the end, of those that ended in order.
    pub live: u64,
    /// Bytes ever allocated.
    pub allocated: u64,
    /// Blocks ever allocated.
    pub allocations: u64,
}

#[derive(Deserialize)]
struct File {
    totals: Totals,
    processes: Vec<Process>,
}

#[derive(Deserialize)]
struct Totals {
    used_peak_bytes_at_most: Option<u64>,
}

#[derive(Deserialize)]
struct Process {
    exe: String,
    ended: String,
    used_peak_bytes: u64,
    allocated_bytes_total: u64,
    freed_bytes_total: u64,
    allocations_total: u64,
    rss_peak_bytes: Option<u64>,
    size_classes: Vec<SizeClass>,
}

#[derive(Deserialize)]
struct SizeClass {
    from_bytes: u64,
    to_bytes: Option<u64>,
    live_bytes: u64,
    allocations_total: u64,
    allocated_bytes_total: u64,
}

impl Figures {
    /// Those of a run. They go the way of a file, so that both sides of a comparison mean the same.
    pub fn of(report: &Report) -> Figures {
        let value = serde_json::to_value(report).expect("a report is plain data");
        Figures::from_file(serde_json::from_value(value).expect("a report has what is read of it"))
    }

    /// Those in a file.
    pub fn read(path: &Path) -> Result<Figures, Error> {
        let wrong = |why: String| Error::Figures(path.to_owned(), why);
        let text =
            fs::read(path).map_err(|error| wrong(format!("cannot be read: {}", crate::error::reason(&error))))?;
        let advice = "not a file that `zm run --export-json` or `zm check --export-json` wrote";
        let value: Value = serde_json::from_slice(&text).map_err(|error| wrong(format!("{advice}: {error}")))?;
        match value.get("schema").and_then(Value::as_str) {
            Some(SCHEMA) => {}
            Some(other) => return Err(wrong(format!("{advice}: its schema is `{other}`, not `{SCHEMA}`"))),
            None => return Err(wrong(advice.to_owned())),
        }
        let file: File = serde_json::from_value(value).map_err(|error| wrong(format!("{advice}: {error}")))?;
        Ok(Figures::from_file(file))
    }

    fn from_file(file: File) -> Figures {
        let mut programs: BTreeMap<String, Program> = BTreeMap::new();
        for process in file.processes {
            programs.entry(process.exe.clone()).or_default().add(&process);
        }
        Figures { programs, peak_tree: file.totals.used_peak_bytes_at_most }
    }

    /// A figure's sum over the programs.
    pub fn sum(&self, figure: impl Fn(&Program) -> u64) -> u64 {
        self.programs.values().fold(0, |sum, program| sum.saturating_add(figure(program)))
    }

    /// A figure of the program that has most of it.
    pub fn most(&self, figure: impl Fn(&Program) -> u64) -> u64 {
        self.programs.values().map(figure).max().unwrap_or(0)
    }
}

impl Program {
    fn add(&mut self, process: &Process) {
        self.peak = self.peak.max(process.used_peak_bytes);
        self.rss = self.rss.max(process.rss_peak_bytes.unwrap_or(0));
        self.allocated = self.allocated.saturating_add(process.allocated_bytes_total);
        self.allocations = self.allocations.saturating_add(process.allocations_total);
        // One that was killed or became another program had no chance to free; a fork did not allocate what it inherited.
        let leaves = process.ended == "exit";
        if leaves {
            let left = process.allocated_bytes_total.saturating_sub(process.freed_bytes_total);
            self.live_at_exit = self.live_at_exit.saturating_add(left);
        }
        for class in &process.size_classes {
            let sum = self.classes.entry(class.from_bytes).or_default();
            sum.to = class.to_bytes;
            sum.live = sum.live.saturating_add(if leaves { class.live_bytes } else { 0 });
            sum.allocated = sum.allocated.saturating_add(class.allocated_bytes_total);
            sum.allocations = sum.allocations.saturating_add(class.allocations_total);
        }
    }
}
