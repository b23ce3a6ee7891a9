//! Where ledgers lie: in the sessions of `zm run`, and in the directories that programs publish in.

use super::listing::{Candidate, Listing, candidate};
use crate::collect::Liveness;
use crate::session;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The directories to look in.
pub struct Places {
    /// Directories with sessions in them, each with the pid of its `zm`, and with directories that programs publish in.
    bases: Vec<Listing<(Option<u32>, PathBuf)>>,
    /// Directories with ledgers in them, by their paths.
    directories: HashMap<OsString, Place>,
    /// Also those of other users.
    of_all: bool,
    /// The number of this listing.
    turn: u64,
}

struct Place {
    listing: Listing<Candidate>,
    /// Files of processes that are gone are ours to remove: nobody else waits for them.
    ours: bool,
    /// The last listing that found it.
    turn: u64,
}

impl Places {
    /// One session alone.
    pub fn session(directory: &Path) -> Places {
        let place = Place { listing: Listing::new(directory.to_owned()), ours: false, turn: 0 };
        let directories = HashMap::from([(directory.as_os_str().to_owned(), place)]);
        Places { bases: Vec::new(), directories, of_all: false, turn: 0 }
    }

    /// Every place that this user's programs use; for root, those of all users. Clears what killed ones left.
    pub fn all() -> Places {
        let user = user();
        let mut runtime = vec![PathBuf::from(format!("/run/user/{user}"))];
        if user == 0 {
            let users = fs::read_dir("/run/user").into_iter().flatten().flatten();
            runtime.extend(users.map(|entry| entry.path()));
        }
        let mut seen = HashSet::new();
        let bases: Vec<PathBuf> = session::bases().chain(runtime).filter(|base| seen.insert(base.clone())).collect();
        bases.iter().for_each(|base| session::clear_abandoned(base));
        let bases = bases.into_iter().map(Listing::new).collect();
        Places { bases, directories: HashMap::new(), of_all: user == 0, turn: 0 }
    }

    /// Brings the list up to date.
    pub fn list(&mut self) {
        let Places { bases, directories, of_all, turn } = self;
        for base in bases.iter_mut() {
            base.list(|base, name| {
                let session = session::parse_name(name);
                (session.is_some() || is_published(name)).then(|| (session, base.join(name)))
            });
        }
        if !bases.is_empty() {
            *turn += 1;
        }
        for (zm, path) in bases.iter().flat_map(|base| &base.entries) {
            // While its zm is there, a session's dead are collected by that.
            let abandoned = zm.is_none_or(|zm| !Liveness::of(zm).is_alive());
            let Some(owner) = owner(path).filter(|&owner| *of_all || owner == user()) else { continue };
            if !directories.contains_key(path.as_os_str()) {
                let place = Place { listing: Listing::new(path.clone()), ours: false, turn: 0 };
                directories.insert(path.as_os_str().to_owned(), place);
            }
            if let Some(place) = directories.get_mut(path.as_os_str()) {
                (place.ours, place.turn) = (abandoned && owner == user(), *turn);
            }
        }
        directories.retain(|_, place| place.turn == *turn);
        for place in directories.values_mut() {
            place.listing.list(candidate);
        }
    }

    /// The files that were there at the last listing.
    pub fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        self.directories.values().flat_map(|place| &place.listing.entries)
    }

    /// Takes a file away whose process is gone, if nobody else waits for it.
    pub fn remove(&mut self, candidate: &Candidate) {
        let directory = candidate.path.parent().and_then(|parent| self.directories.get(parent.as_os_str()));
        if directory.is_some_and(|place| place.ours) {
            let _ = fs::remove_file(&candidate.path);
        }
    }
}

/// The owner of a real directory that nobody else can write to.
fn owner(path: &Path) -> Option<u32> {
    let there = fs::symlink_metadata(path).ok()?;
    (there.is_dir() && there.mode() & 0o022 == 0).then_some(there.uid())
}

/// As [`zmalloc::publish::directory`] names them.
fn is_published(name: &str) -> bool {
    name == "zmalloc" || name.strip_prefix("zmalloc-").is_some_and(|uid| uid.parse::<u32>().is_ok())
}

fn user() -> u32 {
    // SAFETY: always succeeds.
    unsafe { libc::geteuid() }
}
