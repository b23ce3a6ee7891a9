//! One process: its open files, and what they said last.

use super::listing::{Candidate, Kind};
use super::resident::{self, Memory, Resident};
use crate::collect::Liveness;
use crate::report::{self, SizeClass};
use crate::session::open_regular;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{SystemTime, UNIX_EPOCH};
use zmalloc::ledger::{SegmentError, SegmentReader};
use zmalloc::publish::{PublishedScope, Reader};

/// A process under the ledger, as of the last refresh.
#[derive(Clone, Debug)]
pub struct Process {
    pub pid: u32,
    pub parent_pid: u32,
    /// When the program in it started, in nanoseconds since 1970.
    pub started_ns: u64,
    pub executable: String,
    pub command: Vec<String>,
    /// The allocator that is counted.
    pub backend: String,
    pub source: Source,
    pub figures: Figures,
    /// Bytes allocated per second, since the refresh before.
    pub rate: Option<f64>,
    pub health: Health,
}

/// Who says what a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The preloaded library: what goes through `malloc`.
    Preloaded,
    /// The program itself: what goes through the library that it links.
    Published,
    /// Both. The figures are those that the program publishes.
    Both,
}

/// Whether a process's figures can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Good,
    /// They cannot: why.
    Damaged(String),
}

/// The figures of a row. Sizes are in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    pub used: u64,
    pub used_peak: u64,
    pub allocated: u64,
    pub freed: u64,
    /// Not known of a program that is not preloaded.
    pub mapped: Option<u64>,
    pub mapped_peak: Option<u64>,
    pub rss: u64,
    pub threads: Option<u64>,
    /// Requests that a limit refused.
    pub refusals: u64,
    pub scopes: u64,
    /// Live bytes of `malloc`, of a process that also publishes.
    pub malloc_used: Option<u64>,
    /// When a published copy was made, in nanoseconds since 1970; a segment is of now.
    pub taken_ns: Option<u64>,
}

impl Figures {
    /// Resident over live bytes; `None` if nothing is live.
    pub fn fragmentation(&self) -> Option<f64> {
        (self.used > 0 && self.rss > 0).then(|| self.rss as f64 / self.used as f64)
    }
}

/// What is read of one process on demand.
#[derive(Clone, Debug, Default)]
pub struct Detail {
    pub size_classes: Vec<SizeClass>,
    pub scopes: Vec<PublishedScope>,
    /// Live bytes outside of all scopes, of a program that publishes.
    pub outside: Option<i64>,
}

impl Process {
    /// How old a published copy is; nothing of a segment, which is of now.
    pub fn age_seconds(&self) -> Option<f64> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64);
        Some(now.saturating_sub(self.figures.taken_ns?) as f64 / 1e9)
    }

    /// The program's name, without the directory: that which it was called by, since one file may have several.
    pub fn name(&self) -> &str {
        let called = self.command.first().map_or("", |first| report::short_name(first));
        if called.is_empty() || called == "?" { report::short_name(&self.executable) } else { called }
    }
}

/// A process whose files are open.
pub(super) struct Attached {
    pub process: Process,
    resident: Resident,
    segment: Option<(u64, SegmentReader)>,
    published: Option<(u64, Reader)>,
    /// It becomes, or became, a program that is not counted.
    leaving: bool,
    /// Refreshes in a row that found more live bytes than address space.
    absurd: u32,
}

/// What came of opening a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    Done,
    /// The process is just starting.
    NotYet,
    /// There is no such process any more.
    Gone,
    /// It is not what its name says, and will not be.
    Refused(String),
}

impl Attached {
    /// Opens a file, for a new process or in addition to what is known of it. Whatever comes of it, what was known is
    /// given back.
    pub fn try_from(candidate: &Candidate, before: Option<Attached>) -> (Option<Attached>, Attempt) {
        match Attached::open(candidate) {
            Err(attempt) => (before, attempt),
            Ok(mut new) => {
                // What is kept is of the same image: a program publishes after the library was preloaded into it.
                if let Some(before) = before {
                    if candidate.kind == Kind::Segment {
                        new.published = before.published.filter(|(started_ns, _)| *started_ns > candidate.started_ns);
                        if new.published.is_some() {
                            new.process = before.process;
                        }
                    } else {
                        new.segment = before.segment;
                    }
                }
                new.process.source = match (&new.segment, &new.published) {
                    (Some(_), None) => Source::Preloaded,
                    (None, _) => Source::Published,
                    (Some(_), Some(_)) => Source::Both,
                };
                (Some(new), Attempt::Done)
            }
        }
    }

    fn open(candidate: &Candidate) -> Result<Attached, Attempt> {
        let refused = |why: &str| Attempt::Refused(why.to_owned());
        let pid = candidate.pid;
        let liveness = Liveness::of(pid);
        if !liveness.is_alive() {
            return Err(Attempt::Gone);
        }
        let file = match open_regular(&candidate.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound || too_many(&error) => return Err(Attempt::NotYet),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Err(refused("not a regular file")),
            Err(error) => return Err(Attempt::Refused(error.to_string())),
        };
        let resident =
            Resident::open(pid).map_err(|error| if too_many(&error) { Attempt::NotYet } else { Attempt::Gone })?;
        let (user, parent_pid) = resident::user_and_parent(pid).ok_or(Attempt::Gone)?;
        let there = file.metadata().map_err(|error| Attempt::Refused(error.to_string()))?;
        if there.uid() != user {
            return Err(refused("of another user than its process"));
        }
        let process = |executable, command, backend, source| Process {
            pid,
            parent_pid,
            started_ns: candidate.started_ns,
            executable,
            command,
            backend,
            source,
            figures: Figures::default(),
            rate: None,
            health: Health::Good,
        };
        let attached =
            |process, segment, published| Attached { process, resident, segment, published, leaving: false, absurd: 0 };
        match candidate.kind {
            Kind::Segment => {
                // A pid is used again, and a file may have any name: its process has it mapped.
                if resident::maps(pid, there.dev(), there.ino()) == Some(false) {
                    return Err(if just_made(&there) { Attempt::NotYet } else { Attempt::Gone });
                }
                let (reader, snapshot) = SegmentReader::open(file).map_err(|error| not_yet(&error))?;
                let process = process(snapshot.executable, snapshot.command, snapshot.backend, Source::Preloaded);
                Ok(attached(process, Some((candidate.started_ns, reader)), None))
            }
            Kind::Published => {
                let reader = Reader::new(file);
                let said = reader.publication().map_err(|error| not_yet_published(&error, &there))?;
                if said.pid != pid {
                    return Err(refused("named for another process"));
                }
                if said.started_ticks.is_some_and(|ticks| liveness != Liveness::Alive(ticks)) {
                    return Err(Attempt::Gone);
                }
                let process = process(said.executable, said.command, said.backend, Source::Published);
                Ok(attached(process, None, Some((candidate.started_ns, reader))))
            }
        }
    }

    /// Whether this file is one of those open, or of an earlier image of the process.
    pub fn has(&self, candidate: &Candidate) -> bool {
        let segment = self.segment.as_ref().map(|(started_ns, _)| *started_ns);
        let published = self.published.as_ref().map(|(started_ns, _)| *started_ns);
        let latest = match candidate.kind {
            Kind::Segment => segment,
            Kind::Published => published.max(segment),
        };
        latest.is_some_and(|latest| latest >= candidate.started_ns)
    }

    pub fn is_shown(&self) -> bool {
        !self.leaving
    }

    /// Reads the sums; `seconds` have passed since the last time. False if the process is gone.
    pub fn refresh(&mut self, seconds: f64) -> bool {
        let before = self.process.figures;
        let mut figures = Figures::default();
        let mut error = None;
        // Before the kernel's figures: what is live then is mapped then.
        if let Some((_, reader)) = &mut self.segment {
            match reader.sums() {
                Ok(sums) => {
                    figures.used = sums.totals.live_bytes();
                    figures.used_peak = sums.used_peak_bytes;
                    figures.allocated = sums.totals.allocated_bytes;
                    figures.freed = sums.totals.freed_bytes;
                    figures.mapped = Some(sums.mapped_bytes);
                    figures.mapped_peak = Some(sums.mapped_peak_bytes);
                    figures.threads = Some(sums.threads as u64);
                    figures.refusals = sums.refusals;
                    self.leaving = sums.notes.exec;
                }
                Err(why) => error = Some(why),
            }
        }
        if let Some((_, reader)) = &self.published {
            match reader.figures() {
                Ok(said) => {
                    figures.malloc_used = self.segment.as_ref().map(|_| figures.used);
                    figures.used = said.totals.live_bytes();
                    figures.used_peak = said.used_peak_bytes;
                    figures.allocated = said.totals.allocated_bytes;
                    figures.freed = said.totals.freed_bytes;
                    figures.threads = said.threads;
                    figures.scopes = said.scopes;
                    figures.taken_ns = Some(said.taken_ns);
                }
                Err(why) => error = Some(why),
            }
        }
        let Some(Memory { resident, size }) = self.resident.read() else { return false };
        figures.rss = resident;
        // Once it may have been unmapped since.
        self.absurd = if figures.used > size { self.absurd + 1 } else { 0 };
        self.process.health = match error {
            Some(why) => Health::Damaged(why.to_string()),
            None if self.absurd > 1 => {
                Health::Damaged("it claims more live bytes than it has address space".to_owned())
            }
            None => Health::Good,
        };
        let grown = figures.allocated.checked_sub(before.allocated);
        self.process.rate = grown.filter(|_| seconds > 0.0 && before.rss > 0).map(|grown| grown as f64 / seconds);
        self.process.figures = figures;
        true
    }

    pub fn detail(&mut self) -> Detail {
        let mut detail = Detail::default();
        if let Some((_, reader)) = &mut self.segment
            && let Ok(snapshot) = reader.snapshot()
        {
            detail.size_classes = report::size_classes(&snapshot.details);
        }
        if let Some((_, reader)) = &self.published
            && let Ok(said) = reader.publication()
        {
            if let Some(details) = said.details {
                detail.size_classes = report::size_classes(&details);
            }
            detail.scopes = said.scopes;
            detail.outside = Some(said.figures.outside_live_bytes);
        }
        detail
    }
}

/// No more files can be open: another time perhaps.
fn too_many(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// A file younger than this may be one that its process is about to map, or to write to.
const JUST_MADE_SECONDS: i64 = 2;

fn just_made(there: &std::fs::Metadata) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    (now as i64).saturating_sub(there.ctime()) <= JUST_MADE_SECONDS
}

fn not_yet(error: &io::Error) -> Attempt {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<SegmentError>()) {
        Some(SegmentError::NotPublished) => Attempt::NotYet,
        _ => Attempt::Refused(error.to_string()),
    }
}

fn not_yet_published(error: &io::Error, there: &std::fs::Metadata) -> Attempt {
    if just_made(there) { Attempt::NotYet } else { Attempt::Refused(error.to_string()) }
}
