//! `zm run`: the steps from the command line to the report.

pub mod attend;
mod follow;
pub mod inherited;
mod launch;
mod limits;
pub mod signal;
mod status;
mod stopped;

pub use follow::{RECORD_REFUSED, RECORD_REQUEST};
pub use launch::{Change, Streams};
pub use limits::{Limits, set_tree_limit};
pub use signal::{Ended, Outcome};
pub use stopped::is_stopped;

use crate::backend::Backend;
use crate::cli::Run;
use crate::collect::{Collected, Collector, End, Image};
use crate::error::Error;
use crate::export::{Destination, Outputs, json};
use crate::inspect::{self, Inspection, Reason};
use crate::record::Recorder;
use crate::report::rows::Rows;
use crate::report::text::{Style, render};
use crate::report::{NotCounted, Process, RSS_FROM_SAMPLES, Report, SCHEMA, Totals, csv, markdown, open_metrics};
use crate::session::Session;
use attend::Attend;
use follow::Follow;
use inherited::Inherited;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::Instant;
use zmalloc::ledger::SESSION_VARIABLE;

const PRELOAD_VARIABLE: &str = "LD_PRELOAD";
const BACKEND_VARIABLE: &str = "ZMALLOC_BACKEND";

/// Runs the program under the ledger, and reports.
pub fn run(arguments: &Run, inherited: &Inherited) -> Result<Outcome, Error> {
    let backend = Backend::find(&arguments.backend).map_err(Error::Backend)?;
    let table = arguments.output.as_deref().map(Destination::open).transpose()?;
    let exports = Outputs::open([
        (arguments.export_json.as_deref(), json),
        (arguments.export_csv.as_deref(), csv::write),
        (arguments.export_markdown.as_deref(), markdown::write),
        (arguments.export_openmetrics.as_deref(), open_metrics::write),
    ])?;
    let recorder = arguments.record.as_deref().map(Recorder::create).transpose()?;
    let limits = Limits::of(arguments);
    if let Some(remark) = limits.without_effect().filter(|_| !arguments.quiet) {
        let _ = writeln!(std::io::stderr(), "zm: {remark}");
    }
    let job = Job { limits, ..Job::counted(&arguments.program, &backend) };
    let Observed { report, ended } = observe(&job, inherited, &mut Follow::new(arguments, recorder))?;
    let table_written = write_table(&report, arguments, table);
    exports.write(&report)?;
    table_written?;
    Ok(ended.outcome)
}

/// A program to run once.
pub struct Job<'job> {
    /// It, and its arguments.
    pub program: &'job [OsString],
    /// The allocator that it gets.
    pub backend: &'job Backend,
    /// Whether the ledger is preloaded. If not, the allocator is its own, and no heap figures are known.
    pub is_counted: bool,
    /// What its environment gets beside.
    pub variables: &'job [Change],
    /// What it and its children may have.
    pub limits: Limits,
    /// What replaces its standard streams.
    pub streams: Streams,
}

impl<'job> Job<'job> {
    /// The program under the ledger, in the environment and with the streams of zm.
    pub fn counted(program: &'job [OsString], backend: &'job Backend) -> Job<'job> {
        Job {
            program,
            backend,
            is_counted: true,
            variables: &[],
            limits: Limits::default(),
            streams: Streams::default(),
        }
    }
}

/// A run that is over.
pub struct Observed {
    /// Its figures.
    pub report: Report,
    /// What the kernel says of it.
    pub ended: Ended,
}

/// Runs a job to its end, with what goes on beside it.
pub fn observe(job: &Job, inherited: &Inherited, attend: &mut impl Attend) -> Result<Observed, Error> {
    let inspection = Inspection::of(&job.program[0]);
    let mut session = Session::create()?;
    let mut changes =
        if job.is_counted { environment(&session, job.backend, inspection.as_ref())? } else { Vec::new() };
    changes.extend(job.limits.variables());
    changes.extend(job.variables.iter().cloned());
    let tree = job.limits.prepare(&session)?;

    let mut collector = Collector::new(session.directory());
    signal::hold();
    let started = Instant::now();
    let program = launch::launch(job.program, &changes, &job.streams, inherited)?;
    let pid = program as u32;
    attend.begin(session.directory(), job.program, pid);
    let ended = signal::wait(program, &mut collector, attend)
        .map_err(|error| Error::System("the program cannot be waited for", error))?;
    let wall_seconds = started.elapsed().as_secs_f64();

    let mut collected = collector.finish(pid);
    note_programs_end(&mut collected, pid, ended.outcome);
    if collected.running_unseen > 0 || collected.images.iter().any(|image| image.end == End::Running) {
        session.keep();
    }
    let waited_peak = kernels_peak(&collected, pid, ended.resident_peak);
    let peak_of = |image: &Image| waited_peak.filter(|_| image.snapshot.pid == pid);
    let timeline = attend.end(ended.outcome, &collected);
    let first_ns = collected.images.first().map_or(0, |image| image.snapshot.started_ns);
    let processes: Vec<Process> =
        collected.images.iter().map(|image| Process::new(image, peak_of(image), first_ns)).collect();
    let (exit_code, signal) = match ended.outcome {
        Outcome::Code(code) => (Some(code), None),
        Outcome::Signal(signal) => (None, Some(signal)),
    };
    let mut report = Report {
        schema: SCHEMA,
        command: job.program.iter().map(|argument| argument.to_string_lossy().into_owned()).collect(),
        program_pid: pid,
        backend: job.backend.name.to_owned(),
        backend_source: job.backend.source(),
        exit_code,
        signal,
        wall_seconds,
        limit_bytes: None,
        tree_limit: None,
        at_limit: None,
        totals: Totals::of(&processes),
        not_counted: not_counted(&collected, inspection.as_ref(), pid),
        remarks: remarks(&processes, &collected, session.directory()),
        processes,
        timeline,
    };
    job.limits.note(&mut report, tree.as_ref());
    Ok(Observed { report, ended })
}

fn write_table(report: &Report, arguments: &Run, table: Option<Destination>) -> Result<(), Error> {
    if arguments.quiet {
        return Ok(());
    }
    let rows = if arguments.all { Rows::Each } else { Rows::Few };
    if let Some(table) = table {
        return table.write(render(report, Style { colored: false }, rows).as_bytes());
    }
    let style = Style::for_terminal(io::stderr().is_terminal());
    // Nobody may be there to read it; the program's end is passed on all the same.
    let _ = io::stderr().write_all(render(report, style, rows).as_bytes());
    Ok(())
}

/// What the program's environment gets: the object, in front of what was preloaded anyway, and where to write.
fn environment(
    session: &Session,
    backend: &Backend,
    inspection: Option<&Inspection>,
) -> Result<Vec<launch::Change>, Error> {
    if inspection.is_some_and(|inspection| !inspection.allows_preload()) {
        return Ok(Vec::new());
    }
    let object = session
        .write_object(backend.object)
        .map_err(|error| Error::System("the preloaded object cannot be written", error))?;
    let mut preload = object.into_os_string();
    if let Some(library) = &backend.library {
        preload.push(":");
        preload.push(library);
    }
    let outer = env::var_os(SESSION_VARIABLE);
    for other in other_preloads(&env::var_os(PRELOAD_VARIABLE).unwrap_or_default(), outer.as_deref()) {
        preload.push(":");
        preload.push(other);
    }
    Ok(vec![
        (PRELOAD_VARIABLE.into(), Some(preload)),
        (SESSION_VARIABLE.into(), Some(session.directory().into())),
        (BACKEND_VARIABLE.into(), backend.variable.map(OsString::from)),
    ])
}

/// What was preloaded before, without the object of a zm around this one: two would count each block twice.
fn other_preloads(preload: &OsStr, outer_session: Option<&OsStr>) -> Vec<OsString> {
    let entries = preload.as_bytes().split(|byte| b" :".contains(byte)).filter(|entry| !entry.is_empty());
    let entries = entries.map(|entry| OsString::from_vec(entry.to_vec()));
    entries.filter(|entry| outer_session.is_none_or(|session| !Path::new(entry).starts_with(session))).collect()
}

/// What the wait status tells of the program's last image, if that left no word.
fn note_programs_end(collected: &mut Collected, pid: u32, outcome: Outcome) {
    let last = collected.images.iter_mut().rev().find(|image| image.snapshot.pid == pid);
    if let Some(image) = last.filter(|image| image.end == End::Unknown) {
        image.end = match outcome {
            Outcome::Signal(_) => End::Killed,
            Outcome::Code(_) => End::Replaced,
        };
    }
}

/// The kernel's peak of the program's resident memory, if it is the peak of one image, and of that image.
fn kernels_peak(collected: &Collected, pid: u32, peak: u64) -> Option<u64> {
    let images = collected.images.iter().filter(|image| image.snapshot.pid == pid).count();
    let replaced = collected.images.iter().any(|image| image.snapshot.pid == pid && image.end == End::Replaced);
    Some(peak).filter(|&peak| images == 1 && !replaced && peak > own_peak())
}

/// The same of a program that was run without a ledger: the largest of it and its children, if it can be told.
pub fn kernels_peak_alone(ended: &Ended) -> Option<u64> {
    Some(ended.resident_peak).filter(|&peak| peak > own_peak())
}

/// What zm itself had: the kernel counts the fork of zm that the program began as, so what is above is the program's.
fn own_peak() -> u64 {
    // SAFETY: plain data, and its place.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage.ru_maxrss as u64 * 1024
    }
}

/// What is known not to be counted: of the program from its file, of all processes from what they say.
fn not_counted(collected: &Collected, inspection: Option<&Inspection>, pid: u32) -> Vec<NotCounted> {
    let mut list: Vec<NotCounted> = Vec::new();
    let seen = collected.images.iter().any(|image| image.snapshot.pid == pid);
    if let Some(inspection) = inspection {
        let file = std::fs::canonicalize(&inspection.file).unwrap_or_else(|_| inspection.file.clone());
        let exe = file.display().to_string();
        list.extend(inspection.reasons.iter().map(|&reason| NotCounted::new(&exe, Some(pid), reason)));
        if !seen && list.is_empty() {
            list.push(NotCounted::new(&exe, Some(pid), Reason::NotLoaded));
        }
    }
    for image in collected.images.iter().filter(|image| image.snapshot.notes.own_malloc) {
        let exe = &image.snapshot.executable;
        // Once for each program, however often it ran. A process compares addresses, and in an executable at a fixed
        // address that of `malloc` may be a stub for the real one; the file tells for sure.
        let known = list.iter().any(|known| known.exe == *exe && known.reason == Reason::OwnMalloc.name());
        if !known && inspect::defines_malloc(Path::new(exe)) != Some(false) {
            list.push(NotCounted::new(exe, Some(image.snapshot.pid), Reason::OwnMalloc));
        }
    }
    for image in collected.images.iter().filter(|image| image.end == End::Replaced) {
        let exe = &image.snapshot.executable;
        // Once for each program, here too.
        if !list.iter().any(|known| known.exe == *exe && known.reason == Reason::Replaced.name()) {
            list.push(NotCounted::new(exe, Some(image.snapshot.pid), Reason::Replaced));
        }
    }
    list
}

fn remarks(processes: &[Process], collected: &Collected, directory: &Path) -> Vec<String> {
    let mut remarks = Vec::new();
    if processes.iter().any(|process| process.rss_peak_source == Some(RSS_FROM_SAMPLES)) {
        remarks.push("peak RSS with > was sampled while the process ran: the true peak is at least that".to_owned());
    }
    if processes.iter().any(|process| process.rss_peak_bytes.is_none() && !process.became_program()) {
        remarks.push(
            "peak RSS with ? is unknown: the process was killed, or became another program, before it was first looked at"
                .to_owned(),
        );
    }
    if processes.iter().any(|process| process.ended == "unknown") {
        remarks.push("(end not seen): killed, or ended or became another program by a raw system call".to_owned());
    }
    remarks.extend(mapped_itself(processes));
    let running = processes.iter().filter(|process| process.ended == "running").count();
    if running > 0 {
        let they =
            if running == 1 { "1 process runs on; its figures are" } else { "some processes run on; figures are" };
        remarks.push(format!("{they} of now, and its ledger stays in {}", directory.display()));
    }
    if collected.running_unseen > 0 {
        let (count, verb) = (collected.running_unseen, if collected.running_unseen == 1 { " runs" } else { "es run" });
        remarks.push(format!("{count} more process{verb} on without a ledger"));
    }
    if let Some(error) = collected.unreadable.first() {
        let count = collected.unreadable.len();
        remarks.push(format!("{count} ledger{} could not be read: {error}", if count == 1 { "" } else { "s" }));
    }
    remarks
}

/// Of the process that mapped the most by itself, if that is far above its heap: where its memory is.
pub fn mapped_itself(processes: &[Process]) -> Option<String> {
    const MUCH: u64 = 8 << 20;
    let is_most = |process: &&Process| {
        process.mapped_peak_bytes > MUCH && process.mapped_peak_bytes / 4 > process.used_peak_bytes
    };
    let process = processes.iter().filter(is_most).max_by_key(|process| process.mapped_peak_bytes)?;
    let why = match inspect::linked_allocator(Path::new(&process.exe)) {
        Some(name) => format!("it has {name} linked in, whose heap is seen as mapped"),
        None => "an allocator of its own (jemalloc or mimalloc linked in, as in many Rust programs; Python's arenas; \
                 a JVM) is seen as mapped"
            .to_owned(),
    };
    Some(format!("{} ({}): most of its memory it mapped itself: {why}", process.name(), process.pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_preloads_stay_and_an_outer_zm_goes() {
        let list = |text: &str, outer: Option<&str>| other_preloads(text.as_ref(), outer.map(OsStr::new));
        assert_eq!(list("", None), [] as [&str; 0]);
        assert_eq!(list("/a.so b.so::/c.so", None), ["/a.so", "b.so", "/c.so"]);
        assert_eq!(list("/s/zm.1.a/libzmalloc_preload.so:/c.so", Some("/s/zm.1.a")), ["/c.so"]);
        assert_eq!(list("/s/zm.1.ab/x.so", Some("/s/zm.1.a")), ["/s/zm.1.ab/x.so"]);
    }
}
