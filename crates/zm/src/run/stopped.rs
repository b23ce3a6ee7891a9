//! Telling of processes that a limit stopped: they wait for somebody.

use crate::watch::Watch;
use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};

/// Those that were told of.
pub struct Stopped {
    told: HashSet<u32>,
    /// There is a limit on all of them together, too.
    of_tree: bool,
}

impl Stopped {
    pub fn new(of_tree: bool) -> Stopped {
        Stopped { told: HashSet::new(), of_tree }
    }

    /// Tells of those that are stopped since.
    pub fn tell(&mut self, watch: &Watch) {
        for process in watch.processes() {
            let (name, pid) = (process.name(), process.pid);
            // Others may be stopped too, by a shell or a debugger.
            if process.figures.refusals == 0 || !is_stopped(pid) {
                self.told.remove(&pid);
            } else if self.told.insert(pid) {
                let (whose, what) = if self.of_tree { ("a", "limit-tree") } else { ("its", "limit") };
                let _ = writeln!(
                    io::stderr(),
                    "zm: {name} ({pid}) is stopped, at {whose} limit. In another terminal, `zm set {pid} {what}=SIZE` gives more, \
                     and `kill -CONT {pid}` lets it go on; `kill -KILL {pid}` ends it"
                );
            }
        }
    }
}

/// Whether a signal has stopped the process.
pub fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|after_name| after_name.trim_start().starts_with('T'))
}
