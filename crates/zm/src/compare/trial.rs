//! One run of one row.

use super::row::Row;
use super::server::{Drive, last_words, send};
use crate::backend::Backend;
use crate::collect::Collector;
use crate::compare::arguments::Compare;
use crate::error::Error;
use crate::report::{NotCounted, Process, Report};
use crate::run::inherited::Inherited;
use crate::run::{self, Ended, Job, Limits, Observed, Outcome};
use serde::Serialize;
use std::fs::File;
use std::hash::Hasher;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// What a run cost. Bytes and seconds; nothing where it is not known.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// From the start to the end; of a server, how long the load took.
    pub wall_seconds: f64,
    /// Processor time of the program and of the children that it waited for.
    pub cpu_seconds: f64,
    /// The most live bytes: of one process, or, of a server, of all as far as seen.
    pub peak_live_bytes: Option<u64>,
    /// The most resident memory, likewise.
    pub peak_rss_bytes: Option<u64>,
    /// Resident memory after the work: of a server after the idle time, otherwise when the process that had most ended.
    pub rss_after_bytes: Option<u64>,
    /// Peak RSS over peak live; of a server, RSS over live after the idle time.
    pub fragmentation_ratio: Option<f64>,
    /// Page faults of the program and of the children that it waited for.
    pub page_faults: u64,
}

/// A run, as far as it tells about the row.
pub struct Trial {
    /// What it cost.
    pub sample: Sample,
    /// How the program ended.
    pub outcome: Outcome,
    /// Its output: how long, and a hash.
    pub output: (u64, u64),
    /// Why it tells that the allocator breaks the program, beside its end and its output.
    pub trouble: Option<String>,
    /// The last line that it wrote to standard error, to be put behind a sentence.
    pub last_words: String,
    /// The allocator that the program really used, as its ledger says.
    pub backend: Option<String>,
    /// Why the program itself was not counted, or not to its end.
    pub program_not_counted: Option<String>,
    /// What was not counted.
    pub not_counted: Vec<NotCounted>,
    /// Where its memory is, if not on its heap.
    pub remark: Option<String>,
}

/// Standard input of every run: the same from its start.
pub enum Input {
    /// Nothing: zm's own is a terminal or another device.
    Null,
    /// A file, opened anew for each run.
    File(File),
}

impl Input {
    /// Takes zm's standard input. A pipe is read to its end.
    pub fn take() -> io::Result<Input> {
        let Ok(stdin) = File::open("/proc/self/fd/0") else { return Ok(Input::Null) };
        let kind = stdin.metadata()?.file_type();
        if kind.is_file() {
            return Ok(Input::File(stdin));
        }
        use std::os::unix::fs::FileTypeExt;
        if !kind.is_fifo() && !kind.is_socket() {
            return Ok(Input::Null);
        }
        let mut copy = tempfile::tempfile()?;
        io::copy(&mut io::stdin().lock(), &mut copy)?;
        copy.flush()?;
        Ok(Input::File(copy))
    }

    fn open(&self) -> io::Result<File> {
        match self {
            Input::Null => File::open("/dev/null"),
            Input::File(file) => File::open(format!("/proc/self/fd/{}", file.as_raw_fd())),
        }
    }
}

/// Runs the row once. `limit` is how long it may take.
pub fn trial(
    arguments: &Compare,
    row: &Row,
    input: &Input,
    limit: Option<Duration>,
    inherited: &Inherited,
) -> Result<Trial, Error> {
    let system = |error| Error::System("no file for the program's output can be made", error);
    let (mut output, mut errors) = (tempfile::tempfile().map_err(system)?, tempfile::tempfile().map_err(system)?);
    let changes = row.changes();
    let job = Job {
        program: &arguments.program,
        backend: &row.backend,
        is_counted: row.is_counted,
        variables: &changes,
        limits: Limits::default(),
        streams: [
            Some(input.open().map_err(|error| Error::System("standard input cannot be read again", error))?),
            Some(output.try_clone().map_err(system)?),
            Some(errors.try_clone().map_err(system)?),
        ],
    };
    let mut trouble = None;
    let (observed, drive) = match &arguments.load {
        None => {
            let started = Instant::now();
            let mut tick = |pid: u32, collector: &mut Collector| {
                let pause = collector.tick();
                let Some(left) = limit.map(|limit| limit.saturating_sub(started.elapsed())) else { return pause };
                if left.is_zero() {
                    trouble
                        .get_or_insert(format!("did not end within {:.0} s", limit.unwrap_or_default().as_secs_f64()));
                    send(pid, libc::SIGKILL);
                    return pause;
                }
                pause.min(left)
            };
            (run::observe(&job, inherited, &mut tick)?, None)
        }
        Some(load) => {
            let mut drive = Drive::new(arguments, load, limit)?;
            let mut tick = |pid: u32, collector: &mut Collector| drive.tick(pid, collector);
            let observed = run::observe(&job, inherited, &mut tick)?;
            if !drive.is_through() {
                let how = crate::report::text::end(&observed.report);
                drive.trouble.get_or_insert(format!("ended before the load was over, with {how}"));
            }
            trouble = drive.trouble.take();
            (observed, Some(drive))
        }
    };
    let Observed { report, ended } = observed;
    if let Some(signal) = ended.interrupted_by {
        return Err(Error::Interrupted(signal));
    }
    let sample = match &drive {
        // Inside the preloaded object it ends first, and gives back what it can: that was not the program's doing.
        None if row.backend.name == "mimalloc" && row.backend.is_built_in() => {
            Sample { rss_after_bytes: None, ..of_program(&report, &ended) }
        }
        None => of_program(&report, &ended),
        Some(drive) => of_server(&report, &ended, drive),
    };
    let program = report.processes.iter().rev().find(|process| process.pid == report.program_pid);
    Ok(Trial {
        sample,
        outcome: ended.outcome,
        output: fingerprint(&mut output).map_err(system)?,
        trouble,
        last_words: last_words(&mut errors),
        backend: program.map(|process| process.backend.clone()),
        program_not_counted: report.program_not_counted().map(str::to_owned),
        not_counted: report.not_counted,
        remark: run::mapped_itself(&report.processes),
    })
}

/// The allocator that a row's ledger names: a library of the system is one that is forwarded to.
pub fn expected_backend(backend: &Backend) -> &str {
    if backend.library.is_some() { "forward" } else { backend.name }
}

fn of_program(report: &Report, ended: &Ended) -> Sample {
    let most = |figure: fn(&Process) -> Option<u64>| report.processes.iter().filter_map(figure).max();
    let peak_live_bytes = most(|process| Some(process.used_peak_bytes));
    let peak_rss_bytes = most(|process| process.rss_peak_bytes).or(run::kernels_peak_alone(ended));
    let largest = report.processes.iter().max_by_key(|process| process.rss_peak_bytes);
    Sample {
        wall_seconds: report.wall_seconds,
        cpu_seconds: ended.cpu.as_secs_f64(),
        peak_live_bytes,
        peak_rss_bytes,
        rss_after_bytes: largest.and_then(|process| process.rss_end_bytes),
        fragmentation_ratio: over(peak_rss_bytes, peak_live_bytes),
        page_faults: ended.page_faults,
    }
}

fn of_server(report: &Report, ended: &Ended, drive: &Drive) -> Sample {
    let alone = of_program(report, ended);
    let (rss_after, live_after) = drive.after.unzip();
    Sample {
        wall_seconds: drive.load_seconds.unwrap_or(0.0),
        peak_live_bytes: alone.peak_live_bytes.map(|peak| peak.max(drive.live_peak)),
        peak_rss_bytes: alone.peak_rss_bytes.max(Some(drive.resident_peak)),
        rss_after_bytes: rss_after,
        fragmentation_ratio: over(rss_after, live_after),
        ..alone
    }
}

fn over(resident: Option<u64>, live: Option<u64>) -> Option<f64> {
    let (resident, live) = (resident?, live.filter(|&live| live > 0)?);
    Some(resident as f64 / live as f64)
}

fn fingerprint(file: &mut File) -> io::Result<(u64, u64)> {
    file.rewind()?;
    let mut hash = std::hash::DefaultHasher::new();
    let mut part = vec![0; 1 << 16];
    let mut length = 0;
    loop {
        let count = file.read(&mut part)?;
        if count == 0 {
            return Ok((length, hash.finish()));
        }
        // `write` takes the bytes as they come, however they are cut.
        hash.write(&part[..count]);
        length += count as u64;
    }
}
