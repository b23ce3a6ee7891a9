//! What goes on beside a program that runs.

use super::Outcome;
use crate::collect::{Collected, Collector};
use crate::report::timeline::Timeline;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// What goes on beside the program. A closure is one that only ticks.
pub trait Attend {
    /// The program has started, as this process; its ledgers lie in the session's directory.
    fn begin(&mut self, _session: &Path, _program: &[OsString], _pid: u32) {}

    /// Called now and then, with the program's pid: has the collector look, and says when to be called next.
    fn tick(&mut self, pid: u32, collector: &mut Collector) -> Duration;

    /// The program was stopped; zm may stop as well.
    fn stopped(&mut self) {}

    /// The program has ended so, and this is what it left. Answers what was seen over time.
    fn end(&mut self, _outcome: Outcome, _collected: &Collected) -> Option<Timeline> {
        None
    }
}

impl<F: FnMut(u32, &mut Collector) -> Duration> Attend for F {
    fn tick(&mut self, pid: u32, collector: &mut Collector) -> Duration {
        self(pid, collector)
    }
}
