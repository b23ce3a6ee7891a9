//! The JSON of `zm top --once --json`. Its keys are documented in `docs/top-json.md`.

use crate::report::SizeClass;
use crate::report::published::{ScopeRow, scope_rows};
use crate::watch::{Detail, Health, Process, Source, Watch};
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// The version of the keys. A key may be added to a version; none changes or goes.
pub const SCHEMA: &str = "zmalloc.top.v1";

/// A look at every process.
#[derive(Debug, Serialize)]
pub struct Look {
    pub schema: &'static str,
    pub taken_seconds: f64,
    pub interval_seconds: f64,
    pub processes: Vec<Row>,
    pub unreadable: Vec<Unreadable>,
}

/// One process.
#[derive(Debug, Serialize)]
pub struct Row {
    pub pid: u32,
    pub parent_pid: u32,
    pub exe: String,
    pub command: Vec<String>,
    pub backend: String,
    pub source: &'static str,
    pub started_seconds: f64,
    pub used_bytes: u64,
    pub used_peak_bytes: u64,
    pub malloc_used_bytes: Option<u64>,
    pub allocated_bytes_total: u64,
    pub freed_bytes_total: u64,
    pub allocated_bytes_per_second: Option<f64>,
    pub mapped_bytes: Option<u64>,
    pub mapped_peak_bytes: Option<u64>,
    pub rss_bytes: u64,
    pub fragmentation_ratio: Option<f64>,
    pub threads: Option<u64>,
    pub age_seconds: f64,
    pub damaged: Option<String>,
    pub size_classes: Vec<SizeClass>,
    pub scopes_total: u64,
    pub outside_scopes_bytes: Option<i64>,
    pub scopes: Vec<ScopeRow>,
}

/// A file that is named as a ledger is, and is none that can be read.
#[derive(Debug, Serialize)]
pub struct Unreadable {
    pub path: String,
    pub reason: String,
}

impl Look {
    /// What `watch` saw of these processes.
    pub fn of(watch: &mut Watch, processes: Vec<Process>, interval_seconds: f64) -> Look {
        let now = now_seconds();
        let mut unreadable: Vec<Unreadable> = watch
            .refused()
            .map(|(path, reason)| Unreadable { path: path.display().to_string(), reason: reason.to_owned() })
            .collect();
        unreadable.sort_by(|a, b| a.path.cmp(&b.path));
        let rows = processes.into_iter().map(|process| {
            let detail = watch.detail(process.pid).unwrap_or_default();
            Row::of(process, detail)
        });
        Look { schema: SCHEMA, taken_seconds: now, interval_seconds, processes: rows.collect(), unreadable }
    }
}

impl Row {
    fn of(process: Process, detail: Detail) -> Row {
        let figures = process.figures;
        let age_seconds = process.age_seconds().unwrap_or(0.0);
        Row {
            pid: process.pid,
            parent_pid: process.parent_pid,
            exe: process.executable,
            command: process.command,
            backend: process.backend,
            source: match process.source {
                Source::Preloaded => "preloaded",
                Source::Published => "published",
                Source::Both => "both",
            },
            started_seconds: process.started_ns as f64 / 1e9,
            used_bytes: figures.used,
            used_peak_bytes: figures.used_peak,
            malloc_used_bytes: figures.malloc_used,
            allocated_bytes_total: figures.allocated,
            freed_bytes_total: figures.freed,
            allocated_bytes_per_second: process.rate,
            mapped_bytes: figures.mapped,
            mapped_peak_bytes: figures.mapped_peak,
            rss_bytes: figures.rss,
            fragmentation_ratio: figures.fragmentation(),
            threads: figures.threads,
            age_seconds,
            damaged: match process.health {
                Health::Good => None,
                Health::Damaged(why) => Some(why),
            },
            size_classes: detail.size_classes,
            scopes_total: figures.scopes,
            outside_scopes_bytes: detail.outside,
            scopes: scope_rows(&detail.scopes),
        }
    }
}

fn now_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64())
}
