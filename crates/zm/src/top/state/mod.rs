//! What is shown, and how: the rows as of the last look, their order, what is selected, and what was seen before.

mod column;
mod history;
mod keys;
mod order;

pub use crate::report::text::plain;
pub use column::{Column, cell};
pub use history::{History, Sample};
pub use keys::{Asked, KEYS};
pub use order::{matches, sort, tree};

use super::Top;
use crate::watch::{Detail, Process, Watch};
use std::collections::HashMap;
use std::time::Instant;

/// What is said when there is nothing to show.
pub const NOBODY: &str = "no process under the ledger: start one with `zm run -- PROGRAM`, or have a program publish";

/// The state of the screen.
#[derive(Default)]
pub struct State {
    /// The processes that are shown, in their order.
    pub rows: Vec<Process>,
    /// How far each is set in, in the tree.
    pub indents: Vec<usize>,
    /// All processes, shown or not.
    pub processes: usize,
    /// Files that could not be read, and why one of them.
    pub unreadable: Option<(usize, String)>,
    pub histories: HashMap<u32, History>,
    /// The selected process: it stays selected wherever its row goes.
    pub selected: Option<u32>,
    /// The first row on the screen.
    pub offset: usize,
    /// How many rows the screen had at the last drawing.
    pub height: usize,
    pub sort: Column,
    pub reversed: bool,
    pub tree: bool,
    pub filter: String,
    /// The filter is being typed.
    pub typing: bool,
    /// The selected process is shown in full.
    pub detailed: bool,
    pub detail: Detail,
    pub help: bool,
    pub paused: bool,
    /// Milliseconds between two looks.
    pub interval: u64,
    looks: u64,
    started: Option<Instant>,
}

impl State {
    pub fn new(arguments: &Top) -> State {
        State {
            sort: arguments.sort,
            tree: arguments.tree,
            filter: arguments.filter.clone(),
            interval: arguments.interval,
            ..State::default()
        }
    }

    /// Takes in what `watch` saw.
    pub fn take(&mut self, watch: &mut Watch) {
        self.looks += 1;
        let seconds = self.started.get_or_insert_with(Instant::now).elapsed().as_secs_f64();
        self.processes = 0;
        let filter = self.filter.to_lowercase();
        // Rows are written over, so that a look at many processes allocates little.
        let mut used = 0;
        for process in watch.processes() {
            self.processes += 1;
            self.histories.entry(process.pid).or_default().push(process, self.looks, seconds);
            if !matches(process, &filter) {
                continue;
            }
            match self.rows.get_mut(used) {
                Some(row) if row.pid == process.pid && row.started_ns == process.started_ns => row.update(process),
                Some(row) => row.clone_from(process),
                None => self.rows.push(process.clone()),
            }
            used += 1;
        }
        self.rows.truncate(used);
        self.histories.retain(|_, history| history.last_look() == self.looks);
        let mut refused = watch.refused();
        self.unreadable = refused.next().map(|(path, why)| {
            let reason = format!("{}: {why}", path.display());
            (refused.count() + 1, reason)
        });
        self.arrange();
        self.take_detail(watch);
    }

    /// Reads what is shown of the selected process in full.
    pub fn take_detail(&mut self, watch: &mut Watch) {
        self.detail = match self.selected.filter(|_| self.detailed) {
            Some(pid) => watch.detail(pid).unwrap_or_default(),
            None => Detail::default(),
        };
    }

    /// Puts the rows in order, and the selection on one of them.
    fn arrange(&mut self) {
        sort(&mut self.rows, self.sort, self.reversed);
        self.indents = if self.tree { tree(&mut self.rows) } else { vec![0; self.rows.len()] };
        if self.selected_place().is_none() {
            self.selected = self.rows.first().map(|row| row.pid);
        }
    }

    /// The row of the selected process.
    pub fn selected_place(&self) -> Option<usize> {
        self.rows.iter().position(|row| Some(row.pid) == self.selected)
    }

    pub fn selected_row(&self) -> Option<&Process> {
        self.rows.get(self.selected_place()?)
    }

    /// Moves the selection by so many rows.
    fn select(&mut self, by: isize) {
        let place = self.selected_place().unwrap_or(0).saturating_add_signed(by);
        self.selected = self.rows.get(place.min(self.rows.len().saturating_sub(1))).map(|row| row.pid);
    }
}

impl Process {
    /// The same process at a later look.
    fn update(&mut self, later: &Process) {
        (self.figures, self.rate, self.source) = (later.figures, later.rate, later.source);
        self.parent_pid = later.parent_pid;
        self.health.clone_from(&later.health);
    }
}

#[cfg(test)]
mod tests;
