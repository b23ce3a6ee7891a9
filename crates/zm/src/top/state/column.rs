//! The columns of the table.

use super::plain;
use crate::format::{bytes, count, rate, ratio};
use crate::watch::Process;
use clap::ValueEnum;
use std::cmp::{Ordering, Reverse};

/// A column, which rows can be sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Column {
    Pid,
    Program,
    #[default]
    Live,
    Rate,
    Peak,
    Mapped,
    Rss,
    Fragmentation,
    Threads,
    Scopes,
    Allocator,
}

impl Column {
    pub const ALL: [Column; 11] = [
        Column::Pid,
        Column::Program,
        Column::Live,
        Column::Rate,
        Column::Peak,
        Column::Mapped,
        Column::Rss,
        Column::Fragmentation,
        Column::Threads,
        Column::Scopes,
        Column::Allocator,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Column::Pid => "pid",
            Column::Program => "program",
            Column::Live => "live",
            Column::Rate => "rate",
            Column::Peak => "peak",
            Column::Mapped => "mapped",
            Column::Rss => "RSS",
            Column::Fragmentation => "RSS/live",
            Column::Threads => "threads",
            Column::Scopes => "scopes",
            Column::Allocator => "allocator",
        }
    }

    pub fn is_text(self) -> bool {
        matches!(self, Column::Program | Column::Allocator)
    }

    /// The order of two rows: the largest first, names and pids from the start.
    pub fn compare(self, a: &Process, b: &Process) -> Ordering {
        let largest = |figure: fn(&Process) -> u64| Reverse(figure(a)).cmp(&Reverse(figure(b)));
        let ratio = |process: &Process| process.figures.fragmentation().unwrap_or(-1.0);
        let rate = |process: &Process| process.rate.unwrap_or(-1.0);
        match self {
            Column::Pid => Ordering::Equal,
            Column::Program => a.name().cmp(b.name()),
            Column::Live => largest(|process| process.figures.used),
            Column::Rate => rate(b).total_cmp(&rate(a)),
            Column::Peak => largest(|process| process.figures.used_peak),
            Column::Mapped => largest(|process| process.figures.mapped.unwrap_or(0)),
            Column::Rss => largest(|process| process.figures.rss),
            Column::Fragmentation => ratio(b).total_cmp(&ratio(a)),
            Column::Threads => largest(|process| process.figures.threads.unwrap_or(0)),
            Column::Scopes => largest(|process| process.figures.scopes),
            Column::Allocator => a.backend.cmp(&b.backend),
        }
        .then(a.pid.cmp(&b.pid))
    }
}

/// What a row shows in a column.
pub fn cell(process: &Process, column: Column, indent: usize) -> String {
    let figures = &process.figures;
    let unknown = || "-".to_owned();
    match column {
        Column::Pid => process.pid.to_string(),
        Column::Program if indent == 0 => plain(process.name()),
        Column::Program => format!("{}└ {}", "  ".repeat(indent.min(16) - 1), plain(process.name())),
        Column::Live => bytes(figures.used),
        Column::Rate => process.rate.map_or_else(unknown, rate),
        Column::Peak => bytes(figures.used_peak),
        Column::Mapped => figures.mapped.map_or_else(unknown, bytes),
        Column::Rss => bytes(figures.rss),
        Column::Fragmentation => figures.fragmentation().map_or_else(unknown, ratio),
        Column::Threads => figures.threads.map_or_else(unknown, count),
        Column::Scopes => count(figures.scopes),
        Column::Allocator => plain(&process.backend),
    }
}
