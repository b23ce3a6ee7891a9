//! Writing the file while the program runs.

use super::format::{self, Class, Counters, End, Frame, Row, ScopeLive, Start, write_block};
use super::oom;
use crate::collect::{self, Collected};
use crate::error::Error;
use crate::report::published::scope_rows;
use crate::report::timeline::Sample;
use crate::report::{Process, short_name};
use crate::run::Outcome;
use crate::watch::{self, Watch};
use std::cmp::Reverse;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A recording that goes on.
pub struct Recorder {
    file: File,
    started: Instant,
    number: u64,
}

const PROCESSES: usize = 12;
const CLASSES: usize = 8;
const SCOPES: usize = 8;
const NAME: usize = 48;

impl Recorder {
    /// Makes the file, with the memory for all of it. One that is there is replaced if it is a recording.
    pub fn create(path: &Path) -> Result<Recorder, Error> {
        let made = open(path).map_err(|error| Error::Export(path.to_owned(), error))?;
        Ok(Recorder { file: made, started: Instant::now(), number: 0 })
    }

    /// The program has started, then.
    pub fn begin(&mut self, program: &[OsString], pid: u32, started: Instant) {
        self.started = started;
        let mut command: Vec<String> = program.iter().map(|argument| cut(&argument.to_string_lossy(), 200)).collect();
        command.truncate(20);
        let start = Start {
            zm_version: env!("CARGO_PKG_VERSION").to_owned(),
            command,
            zm_pid: std::process::id(),
            program_pid: pid,
            started_seconds: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0.0, |now| now.as_secs_f64() - started.elapsed().as_secs_f64()),
            boot_id: oom::boot_id(),
            memory_limit_bytes: zmalloc::process::memory_size().effective_bytes().map(|bytes| bytes as u64),
            counters: Counters::now(),
        };
        // What cannot be written is missed later; the program goes first.
        let _ = write_block(&self.file, format::START_AT, format::START_BYTES, &start);
    }

    /// Writes a sample over the oldest.
    pub fn record(&mut self, watch: &mut Watch, sample: &Sample) {
        let mut largest: Vec<&watch::Process> = watch.processes().collect();
        largest.sort_by_key(|process| Reverse(process.figures.rss.max(process.figures.used)));
        let rows = largest.iter().take(PROCESSES).map(|process| Row {
            pid: process.pid,
            program: cut(process.name(), NAME),
            used_bytes: process.figures.used,
            used_peak_bytes: process.figures.used_peak,
            mapped_bytes: process.figures.mapped,
            rss_bytes: process.figures.rss,
            ended: None,
        });
        let rows: Vec<Row> = rows.collect();
        let holder_pid = rows.iter().max_by_key(|row| row.used_bytes).map(|row| row.pid);
        let detail = holder_pid.and_then(|pid| watch.detail(pid)).unwrap_or_default();
        let mut classes = detail.size_classes;
        classes.sort_by_key(|class| Reverse(class.live_bytes));
        let mut scopes = scope_rows(&detail.scopes);
        scopes.sort_by_key(|scope| Reverse(scope.used_bytes));
        self.number += 1;
        let mut frame = Frame {
            number: self.number,
            seconds: self.started.elapsed().as_secs_f64(),
            processes_total: sample.processes,
            used_bytes: sample.used_bytes,
            mapped_bytes: sample.mapped_bytes,
            rss_bytes: sample.rss_bytes,
            counters: Counters::now(),
            processes: rows,
            holder_pid,
            size_classes: classes
                .iter()
                .take(CLASSES)
                .map(|class| Class {
                    from_bytes: class.from_bytes,
                    to_bytes: class.to_bytes,
                    live_blocks: class.live_blocks,
                    live_bytes: class.live_bytes,
                })
                .collect(),
            scopes: scopes
                .iter()
                .take(SCOPES)
                .map(|scope| ScopeLive { path: cut(&scope.path, 2 * NAME), used_bytes: scope.used_bytes })
                .collect(),
        };
        let at = format::RING_AT + (self.number - 1) % format::SLOTS * format::SLOT_BYTES as u64;
        // Names in other scripts may be too long together: the least goes first.
        while let Ok(false) = write_block(&self.file, at, format::SLOT_BYTES, &frame) {
            if frame.scopes.pop().is_none() && frame.processes.pop().is_none() {
                break;
            }
        }
    }

    /// The program has ended.
    pub fn end(&mut self, outcome: Outcome, collected: &Collected) {
        let lost =
            collected.images.iter().filter(|image| matches!(image.end, collect::End::Killed | collect::End::Unknown));
        let first_ns = collected.images.first().map_or(0, |image| image.snapshot.started_ns);
        let mut processes: Vec<Process> =
            collected.images.iter().map(|image| Process::new(image, None, first_ns)).collect();
        processes.sort_by_key(|process| Reverse(process.used_peak_bytes));
        let rows = processes.iter().take(PROCESSES).map(|process| Row {
            pid: process.pid,
            program: cut(short_name(&process.exe), NAME),
            used_bytes: process.used_bytes,
            used_peak_bytes: process.used_peak_bytes,
            mapped_bytes: Some(process.mapped_bytes),
            rss_bytes: process.rss_peak_bytes.unwrap_or(0),
            ended: Some(process.ended.to_owned()),
        });
        let mut end = End {
            seconds: self.started.elapsed().as_secs_f64(),
            exit_code: if let Outcome::Code(code) = outcome { Some(code) } else { None },
            signal: if let Outcome::Signal(signal) = outcome { Some(signal) } else { None },
            counters: Counters::now(),
            processes_lost: lost.count() as u64,
            processes: rows.collect(),
        };
        while let Ok(false) = write_block(&self.file, format::END_AT, format::END_BYTES, &end) {
            if end.processes.pop().is_none() {
                break;
            }
        }
    }
}

/// Whatever is lost by a typing error in the name, it is no other file.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NONBLOCK);
    let mut file = options.open(path)?;
    let there = file.metadata()?;
    let mut magic = [0; format::MAGIC.len()];
    let ours =
        there.is_file() && (there.len() == 0 || (file.read_exact(&mut magic).is_ok() && magic == *format::MAGIC));
    if !ours {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "it is there, and is no recording; name another file",
        ));
    }
    // Until zm is gone, however it goes.
    // SAFETY: an open file.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "another run is being recorded in it; name another file",
        ));
    }
    file.set_len(0)?;
    // All of it now, so that a full disk is told now.
    // SAFETY: a descriptor and numbers.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, format::FILE_BYTES as libc::off_t) } {
        0 => {}
        // A file system that cannot promise.
        libc::EOPNOTSUPP | libc::EINVAL => file.set_len(format::FILE_BYTES)?,
        code => return Err(io::Error::from_raw_os_error(code)),
    }
    file.write_all_at(format::MAGIC, 0)?;
    Ok(file)
}

fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}
