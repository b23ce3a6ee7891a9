//! `zm set` and `zm purge`: acting on a process that runs, through the file that its ledger lies in.
//!
//! No right is needed but the owner's, and nothing of the process is stopped or looked into: it does itself what it is asked,
//! as soon as it comes by.

use crate::collect::Liveness;
use crate::error::Error;
use crate::format;
use crate::run::{Outcome, RECORD_REFUSED, RECORD_REQUEST, is_stopped, set_tree_limit};
use crate::watch::{self, Candidate, Kind, Places};
use clap::Args;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};
use zmalloc::ledger::{Request, RequestFile, Segment, SegmentReader};
use zmalloc::publish::{REQUEST_AT, Reader};

/// Change what a running process may have.
///
/// For processes under `zm run`, and for those that link the library and publish. A process does it itself, as soon as it has
/// allocated some tens of KiB more; one that publishes within a tenth of a second.
#[derive(Debug, Args)]
#[command(after_help = SET_EXAMPLES)]
pub struct Set {
    /// The process
    #[arg(value_name = "PID")]
    pub pid: u32,

    /// `limit=SIZE` for its hard limit, like 512M, or `limit=none`; `limit-tree=SIZE` for that of all processes of its run, if
    /// they have one; `record=FILE` to keep the last minutes of its run from now on, as `zm run --record` does
    #[arg(value_name = "WHAT", required = true)]
    pub settings: Vec<Setting>,
}

/// Have a running process give unused memory back to the system.
///
/// For processes under `zm run`, and for those that link the library and publish. A process does it itself, as soon as it has
/// allocated some tens of KiB more, so an idle one waits; one that publishes within a tenth of a second.
#[derive(Debug, Args)]
#[command(after_help = PURGE_EXAMPLES)]
pub struct Purge {
    /// The process
    #[arg(value_name = "PID")]
    pub pid: u32,
}

const SET_EXAMPLES: &str = "\
Examples:
  zm set 4711 limit=512M
  zm set 4711 limit=none
  zm set 4711 limit-tree=4G
  zm set 4711 record=box

Exit status:
    0  it is done, or will be as soon as the process allocates: see what is said
  125  zm could not do what was asked: see its message";

const PURGE_EXAMPLES: &str = "\
Examples:
  zm purge 4711

Exit status:
    0  it is done, or will be as soon as the process allocates: see what is said
  125  zm could not do what was asked: see its message";

/// Something to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// The hard limit, or none.
    Limit(Option<u64>),
    /// The limit of all processes of its run.
    LimitTree(u64),
    /// Where to keep the last minutes.
    Record(PathBuf),
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Setting, String> {
        match text.split_once('=') {
            Some(("limit", "none")) => Ok(Setting::Limit(None)),
            Some(("limit", size)) => crate::quantity::bytes(size).map(|bytes| Setting::Limit(Some(bytes))),
            Some(("limit-tree", size)) => crate::quantity::bytes(size).map(Setting::LimitTree),
            Some(("record", file)) if !file.is_empty() => Ok(Setting::Record(file.into())),
            _ => Err(format!(
                "`{text}` is nothing that can be set: say limit=512M, limit=none, limit-tree=4G or record=FILE"
            )),
        }
    }
}

/// Sets what is asked.
pub fn set(arguments: &Set) -> Result<Outcome, Error> {
    let ledger = Ledger::find(arguments.pid)?;
    for setting in &arguments.settings {
        match setting {
            Setting::Limit(limit) => {
                let used = ledger.used_bytes().filter(|used| limit.is_some_and(|limit| *used > limit));
                let done = match used {
                    Some(used) => &format!(
                        "the limit is set, though {} are in use: until it has freed that much it is refused everything",
                        format::bytes(used)
                    ),
                    None => "the limit is set",
                };
                ledger.ask(Request { limit: Some(*limit), purge: false }, done)?
            }
            Setting::LimitTree(limit) => ledger.set_tree_limit(*limit)?,
            Setting::Record(file) => ledger.record(file)?,
        }
    }
    Ok(Outcome::Code(0))
}

/// Has the process purge.
pub fn purge(arguments: &Purge) -> Result<Outcome, Error> {
    Ledger::find(arguments.pid)?.ask(Request { limit: None, purge: true }, "unused memory was given back")?;
    Ok(Outcome::Code(0))
}

/// How long a process is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// The file of a process's ledger.
struct Ledger {
    pid: u32,
    file: File,
    path: PathBuf,
    kind: Kind,
}

impl Ledger {
    /// That of a process that runs; if it publishes, the one that it publishes.
    fn find(pid: u32) -> Result<Ledger, Error> {
        if !Liveness::of(pid).is_alive() {
            return Err(Error::Unfit(format!(
                "there is no process {pid}; `zm top --once` shows those under the ledger"
            )));
        }
        let mut places = Places::all();
        places.list();
        let mut candidates: Vec<&Candidate> = places.candidates().filter(|candidate| candidate.pid == pid).collect();
        candidates.sort_by_key(|candidate| (candidate.kind == Kind::Published, candidate.started_ns));
        // The newest image, and before that what it publishes.
        let mut refused = None;
        for candidate in candidates.into_iter().rev() {
            match Ledger::open(candidate) {
                Ok(ledger) => return Ok(ledger),
                Err(error) => refused = Some((candidate.path.clone(), error)),
            }
        }
        Err(match refused {
            Some((path, error)) => Error::Unfit(format!("{}: {}", path.display(), crate::error::reason(&error))),
            // SAFETY: always succeeds.
            None if watch::user_and_parent(pid)
                .is_some_and(|(user, _)| ![user, 0].contains(&unsafe { libc::geteuid() })) =>
            {
                Error::Unfit(format!("process {pid} is another user's, who alone can change it"))
            }
            None => Error::Unfit(format!(
                "process {pid} is not under the ledger: start it by `zm run`, or have it call `Zmalloc::publish`"
            )),
        })
    }

    fn open(candidate: &Candidate) -> io::Result<Ledger> {
        let mut options = OpenOptions::new();
        let file =
            options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&candidate.path)?;
        let there = file.metadata()?;
        if !there.is_file() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let pid = candidate.pid;
        if watch::user_and_parent(pid).is_none_or(|(user, _)| user != there.uid()) {
            return Err(io::Error::other("of another user than its process"));
        }
        // What the readers check holds for what is written, too. A pid is used again, and a file may have any name.
        let is_its = match candidate.kind {
            Kind::Segment => {
                drop(SegmentReader::open(file.try_clone()?).map_err(|error| io::Error::other(error.to_string()))?);
                watch::maps(pid, there.dev(), there.ino()) != Some(false)
            }
            Kind::Published => {
                let said = Reader::new(file.try_clone()?).publication()?;
                let is_as_old = |ticks| Liveness::of(pid) == Liveness::Alive(ticks);
                said.pid == pid && said.started_ticks.is_none_or(is_as_old)
            }
        };
        if !is_its {
            return Err(io::Error::other("of a process that has ended, or that has become another program"));
        }
        Ok(Ledger { pid: candidate.pid, file, path: candidate.path.clone(), kind: candidate.kind })
    }

    fn ask(&self, request: Request, done: &str) -> Result<(), Error> {
        let at = match self.kind {
            Kind::Segment => Segment::REQUEST_AT,
            Kind::Published => REQUEST_AT,
        };
        let failed = |error| Error::System("the process's ledger cannot be written", error);
        let cell = RequestFile::new(&self.file, at);
        let number = cell.ask(request, PATIENCE).map_err(failed)?;
        let start = Instant::now();
        loop {
            let pid = self.pid;
            let said = match cell.is_done(number, request).map_err(failed)? {
                Some(true) => format!("process {pid}: {done}"),
                Some(false) => {
                    return Err(Error::Unfit(format!("process {pid}: its allocator does not offer that")));
                }
                None if !Liveness::of(pid).is_alive() => {
                    return Err(Error::Unfit(format!("process {pid} has ended meanwhile")));
                }
                None if is_stopped(pid) => {
                    format!("process {pid} is stopped: it will do so when it goes on, by `kill -CONT {pid}`")
                }
                None if start.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                }
                None if self.kind == Kind::Published => {
                    format!("process {pid} has not done so yet, and will once it runs")
                }
                None => format!("process {pid} is idle: it will do so as soon as it has allocated some tens of KiB"),
            };
            let _ = writeln!(io::stderr(), "zm: {said}");
            return Ok(());
        }
    }

    /// What it uses, if that can be read.
    fn used_bytes(&self) -> Option<u64> {
        let file = self.file.try_clone().ok()?;
        Some(match self.kind {
            Kind::Segment => SegmentReader::open(file).ok()?.1.totals.live_bytes(),
            Kind::Published => Reader::new(file).figures().ok()?.totals.live_bytes(),
        })
    }

    /// The directory of the `zm run` above the process.
    fn session(&self) -> Option<&Path> {
        self.path.parent().filter(|directory| {
            let name = directory.file_name().and_then(|name| name.to_str());
            let zm = name.and_then(crate::session::parse_name);
            zm.is_some_and(|zm| Liveness::of(zm).is_alive())
        })
    }

    fn set_tree_limit(&self, bytes: u64) -> Result<(), Error> {
        let set = self.session().map_or(Ok(false), |session| set_tree_limit(session, bytes));
        if !set.map_err(|error| Error::System("the tree's budget cannot be written", error))? {
            let why = format!("the processes beside {} share no limit: start them by `zm run --limit-tree`", self.pid);
            return Err(Error::Unfit(why));
        }
        let _ = writeln!(io::stderr(), "zm: process {} and those beside it: the limit of all of them is set", self.pid);
        Ok(())
    }

    /// Has the `zm run` above the process record.
    fn record(&self, file: &Path) -> Result<(), Error> {
        let Some(session) = self.session() else {
            let why = format!("process {} has no `zm run` above it that could record", self.pid);
            return Err(Error::Unfit(why));
        };
        let path = std::path::absolute(file).map_err(|error| Error::Export(file.to_owned(), error))?;
        let failed = |error| Error::System("the session's directory cannot be written", error);
        // Nothing is written where another user may have put a link.
        // SAFETY: always succeeds.
        if fs::metadata(session).map_err(failed)?.uid() != unsafe { libc::geteuid() } {
            return Err(Error::Unfit(format!("the `zm run` above process {} is another user's", self.pid)));
        }
        let (request, new) = (session.join(RECORD_REQUEST), session.join(format!("record.{}", std::process::id())));
        let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
        let asked = written.and_then(|mut file| file.write_all(path.as_os_str().as_bytes()));
        asked.and_then(|()| fs::rename(&new, &request)).map_err(failed)?;
        let start = Instant::now();
        while request.exists() {
            if start.elapsed() >= PATIENCE {
                return Err(Error::Unfit(format!("the `zm run` above process {} does not answer", self.pid)));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if !session.exists() {
            return Err(Error::Unfit(format!("process {} has ended meanwhile", self.pid)));
        }
        // What it could not do, it says there.
        let refused = session.join(RECORD_REFUSED);
        if let Ok(why) = crate::session::open_regular(&refused).and_then(io::read_to_string) {
            let _ = fs::remove_file(&refused);
            return Err(Error::Unfit(why));
        }
        let _ = writeln!(io::stderr(), "zm: process {}: its run is recorded in {}", self.pid, path.display());
        Ok(())
    }
}
