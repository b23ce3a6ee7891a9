//! The files of one directory that are named as ledgers are.

use crate::collect::parse_file_name as parse_segment;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use zmalloc::publish::parse_file_name as parse_published;

/// A file that may be a process's ledger, as its name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub pid: u32,
    pub started_ns: u64,
    pub kind: Kind,
    pub path: PathBuf,
}

/// Who wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The preloaded library.
    Segment,
    /// The program, by the library that it links.
    Published,
}

/// A directory's entries, read again only when it has changed.
#[derive(Debug)]
pub struct Listing<T> {
    pub path: PathBuf,
    pub entries: Vec<T>,
    modified: Option<SystemTime>,
}

/// The clock that stamps changes may stand still this long: a listing that is younger may miss one.
const STAMP: Duration = Duration::from_millis(50);

impl<T> Listing<T> {
    pub fn new(path: PathBuf) -> Listing<T> {
        Listing { path, entries: Vec::new(), modified: None }
    }

    /// Brings the entries up to date; `parse` makes one of a name, or none.
    pub fn list(&mut self, parse: impl Fn(&Path, &str) -> Option<T>) {
        let modified = fs::metadata(&self.path).and_then(|there| there.modified()).ok();
        if modified.is_some() && modified == self.modified {
            return;
        }
        self.entries.clear();
        self.modified = modified.filter(|stamp| stamp.elapsed().is_ok_and(|age| age > STAMP));
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        let entries = entries.flatten().filter_map(|entry| parse(&self.path, entry.file_name().to_str()?));
        self.entries.extend(entries);
    }
}

/// The candidate of this name.
pub fn candidate(directory: &Path, name: &str) -> Option<Candidate> {
    let (kind, (pid, started_ns)) = match parse_segment(name) {
        Some(key) => (Kind::Segment, key),
        None => (Kind::Published, parse_published(name)?),
    };
    Some(Candidate { pid, started_ns, kind, path: directory.join(name) })
}
