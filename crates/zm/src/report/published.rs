//! What a program that links the library published of its own heap.

use super::{SizeClass, size_classes};
use serde::Serialize;
use zmalloc::publish::{Publication, PublishedScope};

/// The figures of the last copy.
#[derive(Debug, Serialize)]
pub struct Published {
    pub backend: String,
    pub used_bytes: u64,
    pub used_peak_bytes: u64,
    pub allocated_bytes_total: u64,
    pub freed_bytes_total: u64,
    pub threads: Option<u64>,
    pub at_exit: bool,
    pub size_classes: Vec<SizeClass>,
    pub scopes_total: u64,
    pub scopes: Vec<ScopeRow>,
}

/// One scope.
#[derive(Debug, Serialize)]
pub struct ScopeRow {
    pub name: String,
    pub path: String,
    pub parent: Option<usize>,
    pub own_used_bytes: i64,
    pub used_bytes: i64,
    pub used_peak_bytes: u64,
    pub allocated_bytes_total: u64,
    pub freed_bytes_total: u64,
    pub entered_total: u64,
    pub limit_bytes_soft: Option<u64>,
    pub limit_bytes_hard: Option<u64>,
}

impl Published {
    pub fn new(said: &Publication) -> Published {
        let figures = &said.figures;
        Published {
            backend: said.backend.clone(),
            used_bytes: figures.totals.live_bytes(),
            used_peak_bytes: figures.used_peak_bytes,
            allocated_bytes_total: figures.totals.allocated_bytes,
            freed_bytes_total: figures.totals.freed_bytes,
            threads: figures.threads,
            at_exit: figures.ended_ns.is_some(),
            size_classes: said.details.as_ref().map(size_classes).unwrap_or_default(),
            scopes_total: figures.scopes,
            scopes: scope_rows(&said.scopes),
        }
    }
}

/// The scopes with their paths.
pub fn scope_rows(scopes: &[PublishedScope]) -> Vec<ScopeRow> {
    let mut rows: Vec<ScopeRow> = Vec::with_capacity(scopes.len());
    for scope in scopes {
        // A parent comes before its children.
        let around = scope.parent.and_then(|parent| rows.get(parent));
        let path = around.map_or_else(|| scope.name.clone(), |around| format!("{}/{}", around.path, scope.name));
        rows.push(ScopeRow {
            path,
            name: scope.name.clone(),
            parent: scope.parent,
            own_used_bytes: scope.own_live_bytes,
            used_bytes: scope.live_bytes,
            used_peak_bytes: scope.peak_live_bytes,
            allocated_bytes_total: scope.allocated_bytes,
            freed_bytes_total: scope.freed_bytes,
            entered_total: scope.entered,
            limit_bytes_soft: scope.limit_bytes_soft,
            limit_bytes_hard: scope.limit_bytes_hard,
        });
    }
    rows
}
