//! Telling of processes that a limit stopped: they wait for somebody.

use crate::watch::Watch;
use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};

/// Those that were told of.
#[derive(Default)]
pub struct Stopped(HashSet<u32>);

impl Stopped {
    /// Tells of those that are stopped since.
    pub fn tell(&mut self, watch: &Watch) {
        for process in watch.processes() {
            let (name, pid) = (process.name(), process.pid);
            // Others may be stopped too, by a shell or a debugger.
            if process.figures.refusals == 0 || !is_stopped(pid) {
                self.0.remove(&pid);
            } else if self.0.insert(pid) {
                let _ = writeln!(
                    io::stderr(),
                    "zm: {name} ({pid}) is stopped, at its limit: `zm set {pid} limit=SIZE` gives it more, and `kill -CONT {pid}` lets it go on"
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
