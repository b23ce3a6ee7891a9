//! `zm compare`: the same program on its own allocator and on others, in turns.

mod apply;
pub mod arguments;
mod csv;
mod markdown;
mod recommend;
mod result;
mod row;
mod server;
mod statistics;
mod text;
mod tree;
mod trial;

use crate::backend::Backend;
use crate::error::Error;
use crate::export::{Outputs, json};
use crate::inspect::{Inspection, Reason};
use crate::report::text::{Style, signal_name};
use crate::run::Outcome;
use crate::run::inherited::Inherited;
use arguments::Compare;
use indicatif::{ProgressBar, ProgressStyle};
use recommend::Recommendation;
use result::{Comparison, SCHEMA};
use row::{OWN, Row};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use trial::{Input, Sample, Trial};

/// Compares, and shows it on standard output.
pub fn compare(arguments: &Compare, inherited: &Inherited) -> Result<Outcome, Error> {
    let outputs = Outputs::open([
        (arguments.export_json.as_deref(), json),
        (arguments.export_csv.as_deref(), csv::write),
        (arguments.export_markdown.as_deref(), markdown::write),
    ])?;
    let inspection = Inspection::of(&arguments.program[0]);
    if let Some(inspection) = &inspection {
        can_be_swapped(inspection)?;
    }
    let own = inspection.as_ref().and_then(|inspection| linked_allocator(&inspection.file));
    let (own_name, own_allocator) = own.unwrap_or(("libc", "the C library's".to_owned()));
    let rows = row::rows(arguments, own_name)?;
    let input = Input::take().map_err(|error| Error::System("standard input cannot be read", error))?;

    let mut bench = Bench::new(arguments, &rows, &input, inherited);
    bench.run_all()?;
    bench.check_outputs();
    let Bench { samples, broken, remarks, .. } = bench;
    let mut comparison = Comparison {
        schema: SCHEMA,
        command: arguments.program.iter().map(|argument| argument.to_string_lossy().into_owned()).collect(),
        load: arguments.load.clone(),
        runs: arguments.runs,
        warmup: arguments.warmup,
        own_allocator,
        rows: result::summarize(&rows, samples, broken),
        recommendation: Recommendation::default(),
        remarks,
    };
    comparison.recommendation = recommend::recommend(&comparison, &rows);

    let style = Style::for_terminal(io::stdout().is_terminal());
    // Nobody may be there to read it.
    let _ = io::stdout().write_all(text::render(&comparison, style).as_bytes());
    outputs.write(&comparison)?;
    Ok(Outcome::Code(0))
}

/// A file that keeps the loader from preloading, or calls past it, has the allocator that it has.
fn can_be_swapped(inspection: &Inspection) -> Result<(), Error> {
    let why = inspection.reasons.iter().find(|reason| **reason != Reason::Go);
    why.map_or(Ok(()), |why| {
        let name = inspection.file.display();
        Err(Error::Unfit(format!(
            "{name} cannot be given another allocator: it {}",
            why.explanation().split(':').next().unwrap_or_default()
        )))
    })
}

/// The allocator that the loader brings with an executable, as the loader lists it: which it is, and its file.
///
/// The variable makes the loader list what it would load, and run nothing: as `ldd` does.
fn linked_allocator(file: &Path) -> Option<(&'static str, String)> {
    let mut list = Command::new(file);
    let list = list.env("LD_TRACE_LOADED_OBJECTS", "1").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    String::from_utf8_lossy(&list.stdout).lines().find_map(|line| {
        // `libjemalloc.so.2 => /lib/libjemalloc.so.2 (0x...)`, or the path of what was preloaded.
        let file = line.rsplit("=> ").next()?.trim().rsplit_once(" (")?.0;
        let name = Backend::of_library(crate::report::short_name(file))?;
        Some((name, format!("{name} ({file})")))
    })
}

/// The rounds.
struct Bench<'run> {
    arguments: &'run Compare,
    rows: &'run [Row],
    input: &'run Input,
    inherited: &'run Inherited,
    progress: ProgressBar,
    samples: Vec<Vec<Sample>>,
    broken: Vec<Option<String>>,
    /// How the program ended on its own allocator, and what it wrote.
    own_ends: Vec<Outcome>,
    outputs: Vec<Vec<(u64, u64)>>,
    own_seconds: f64,
    remarks: Vec<String>,
}

/// A run under another allocator may take so many times as long as the longest on its own, and a bit.
const SLOWER: f64 = 20.0;
const AT_LEAST: Duration = Duration::from_secs(10);

impl<'run> Bench<'run> {
    fn new(arguments: &'run Compare, rows: &'run [Row], input: &'run Input, inherited: &'run Inherited) -> Bench<'run> {
        let rounds = u64::from(arguments.runs + arguments.warmup);
        // Hidden where standard error is no terminal.
        let progress = ProgressBar::new(rounds * rows.len() as u64);
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg}, {eta} left");
        progress.set_style(style.expect("the template is sound"));
        Bench {
            arguments,
            rows,
            input,
            inherited,
            progress,
            samples: vec![Vec::new(); rows.len()],
            broken: vec![None; rows.len()],
            own_ends: Vec::new(),
            outputs: vec![Vec::new(); rows.len()],
            own_seconds: 0.0,
            remarks: Vec::new(),
        }
    }

    fn run_all(&mut self) -> Result<(), Error> {
        let (warmup, all) = (self.arguments.warmup, self.arguments.warmup + self.arguments.runs);
        for round in 0..all {
            for turn in 0..self.rows.len() {
                // Each round begins with another row: what follows what shall not matter. The first begins with what
                // the others are held against.
                let index = (turn + round as usize) % self.rows.len();
                if self.broken[index].is_none() {
                    self.progress.set_message(self.rows[index].name.clone());
                    self.run_row(index, round >= warmup)?;
                }
                self.progress.inc(1);
            }
        }
        self.progress.finish_and_clear();
        Ok(())
    }

    fn run_row(&mut self, index: usize, is_measured: bool) -> Result<(), Error> {
        let row = &self.rows[index];
        let is_own = index <= OWN;
        let limit = Duration::from_secs_f64(self.own_seconds * SLOWER) + AT_LEAST;
        let limit = (!is_own && self.own_seconds > 0.0).then_some(limit);
        let trial = trial::trial(self.arguments, row, self.input, limit, self.inherited)?;
        if is_own {
            self.accept_own(index, &trial)?;
        } else if let Some(why) = self.why_broken(row, &trial)? {
            self.broken[index] = Some(why);
            return Ok(());
        }
        self.outputs[index].push(trial.output);
        if is_measured {
            self.samples[index].push(trial.sample);
        }
        Ok(())
    }

    /// On its own allocator the program shows what is right.
    fn accept_own(&mut self, index: usize, trial: &Trial) -> Result<(), Error> {
        if let Some(trouble) = &trial.trouble {
            return Err(Error::Unfit(format!(
                "on its own allocator the program {trouble}{}: there is nothing to compare",
                trial.last_words
            )));
        }
        self.own_seconds = self.own_seconds.max(trial.sample.wall_seconds);
        if !self.own_ends.contains(&trial.outcome) {
            // A server is told to end, and does so in its way.
            if trial.outcome != Outcome::Code(0) && self.arguments.load.is_none() {
                let how = end(trial.outcome);
                self.remarks
                    .push(format!("on its own allocator, too, the program ends with {how}{}", trial.last_words));
            }
            self.own_ends.push(trial.outcome);
        }
        if index == OWN && self.outputs[OWN].is_empty() {
            if let Some(why) = &trial.program_not_counted {
                return Err(Error::Unfit(format!("the program cannot be given another allocator: {why}")));
            }
            self.remarks.extend(trial.not_counted.iter().map(|entry| format!("not counted: {}", entry.text)));
            self.remarks.extend(trial.remark.clone());
        }
        Ok(())
    }

    fn why_broken(&self, row: &Row, trial: &Trial) -> Result<Option<String>, Error> {
        if let Some(trouble) = &trial.trouble {
            return Ok(Some(format!("{trouble}{}", trial.last_words)));
        }
        if !self.own_ends.contains(&trial.outcome) {
            let own: Vec<String> = self.own_ends.iter().map(|&own| end(own)).collect();
            let (how, own) = (end(trial.outcome), own.join(" or "));
            return Ok(Some(format!("ends with {how}, on its own allocator with {own}{}", trial.last_words)));
        }
        let expected = trial::expected_backend(&row.backend);
        if trial.backend.as_deref() != Some(expected) {
            return Err(Error::Unfit(format!("the program did not get {}: it left no ledger that says so", row.name)));
        }
        Ok(None)
    }

    /// What was written has to be what is written on its own allocator, where that is always the same.
    fn check_outputs(&mut self) {
        // What a server writes are its own remarks.
        if self.arguments.load.is_some() {
            return;
        }
        let own = || self.outputs[..=OWN].iter().flatten();
        let Some(first) = own().next() else { return };
        if own().any(|output| output != first) {
            self.remarks.push("its output differs from run to run: only how it ends was compared".to_owned());
            return;
        }
        for (index, outputs) in self.outputs.iter().enumerate().skip(OWN + 1) {
            let wrong = outputs.iter().filter(|output| *output != first).count();
            if wrong > 0 && self.broken[index].is_none() {
                self.broken[index] = Some(format!("writes something else in {wrong} of {} runs", outputs.len()));
            }
        }
    }
}

fn end(outcome: Outcome) -> String {
    match outcome {
        Outcome::Code(code) => format!("exit {code}"),
        Outcome::Signal(signal) => signal_name(signal),
    }
}
