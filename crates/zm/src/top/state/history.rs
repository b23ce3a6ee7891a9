//! What a process held before, for its chart.

use crate::watch::Process;
use std::collections::VecDeque;

/// As many looks are kept.
const SAMPLES: usize = 600;

/// One look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When it was, on the clock of the state.
    pub seconds: f64,
    pub used: u64,
    pub rss: u64,
}

/// The last looks at one process.
#[derive(Default)]
pub struct History {
    started_ns: u64,
    last_look: u64,
    samples: VecDeque<Sample>,
}

impl History {
    pub fn push(&mut self, process: &Process, look: u64, seconds: f64) {
        self.last_look = look;
        // The pid's next program starts anew.
        if self.started_ns != process.started_ns {
            self.samples.clear();
            self.started_ns = process.started_ns;
        }
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { seconds, used: process.figures.used, rss: process.figures.rss });
    }

    /// The number of the look that saw the process last.
    pub fn last_look(&self) -> u64 {
        self.last_look
    }

    /// The earliest first.
    pub fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter()
    }
}
