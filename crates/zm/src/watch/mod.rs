//! Looking at processes under the ledger while they run, again and again, at little cost.
//!
//! A process is there when a segment or a published file of it is, and the kernel confirms that it is this process's.
//! Its files stay open; each refresh reads the sums and nothing else. Nothing that a file says is trusted further than
//! that: whoever writes it is the process's own user.

mod listing;
mod places;
mod process;
mod resident;

pub use listing::{Candidate, Kind};
pub use places::Places;
pub use process::{Detail, Figures, Health, Process, Source};
pub use resident::{maps, user_and_parent};

use process::{Attached, Attempt};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What is watched.
pub struct Watch {
    places: Places,
    processes: HashMap<u32, Attached>,
    refused: HashMap<PathBuf, String>,
    refreshed: Option<Instant>,
}

impl Watch {
    /// Watches the processes whose files appear in these places.
    pub fn new(places: Places) -> Watch {
        Watch { places, processes: HashMap::new(), refused: HashMap::new(), refreshed: None }
    }

    /// Looks at every process; takes new ones in, and lets go of those that are gone.
    ///
    /// Cost: about 2 us for each process and 0.3 us for each of its threads; allocates only for what is new.
    pub fn refresh(&mut self) {
        let seconds = self.refreshed.replace(Instant::now()).map_or(0.0, |before| before.elapsed().as_secs_f64());
        self.places.list();
        self.attach();
        self.processes.retain(|_, process| process.refresh(seconds));
    }

    /// The processes, in no order.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.processes.values().filter(|process| process.is_shown()).map(|process| &process.process)
    }

    /// Everything that a process says, read now.
    pub fn detail(&mut self, pid: u32) -> Option<Detail> {
        self.processes.get_mut(&pid).map(Attached::detail)
    }

    /// Files that could not be read, and why.
    pub fn refused(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.refused.iter().map(|(path, why)| (path.as_path(), why.as_str()))
    }

    /// Opens what appeared.
    fn attach(&mut self) {
        let Watch { places, processes, refused, .. } = self;
        let mut gone = Vec::new();
        for candidate in places.candidates() {
            let known = processes.get(&candidate.pid);
            if known.is_some_and(|known| known.has(candidate))
                || (!refused.is_empty() && refused.contains_key(&candidate.path))
            {
                continue;
            }
            match Attached::try_from(candidate, processes.remove(&candidate.pid)) {
                (Some(attached), Attempt::Done) => _ = processes.insert(candidate.pid, attached),
                (before, attempt) => {
                    before.map(|before| processes.insert(candidate.pid, before));
                    match attempt {
                        Attempt::Refused(why) => _ = refused.insert(candidate.path.clone(), why),
                        Attempt::Gone => gone.push(candidate.clone()),
                        Attempt::Done | Attempt::NotYet => {}
                    }
                }
            }
        }
        if !refused.is_empty() {
            refused.retain(|path, _| places.candidates().any(|candidate| candidate.path == *path));
        }
        for candidate in gone {
            places.remove(&candidate);
        }
    }
}

/// Lets zm have more files open, as a watch keeps two for each process. Programs that are started later inherit it.
pub fn allow_many_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is readable and writable.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max.min(65_536);
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

#[cfg(test)]
mod tests;
