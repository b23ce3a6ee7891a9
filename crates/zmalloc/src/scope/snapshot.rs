//! The tree of scopes at a moment.

use super::figures::{Figures, Flow, Sums};
use super::node::Node;
use super::tree::{self, Level, Tree};
use crate::ledger::{self, Totals};

/// Every scope, and what counts in none.
///
/// At rest the sums of all scopes' `own` and `ended`, of `ended` and of `outside` are those of `totals`, to the byte.
///
/// As text: [`Display`](core::fmt::Display) is a table for people, [`to_open_metrics`](Snapshot::to_open_metrics) one
/// for Prometheus; with the feature `serde` it serializes under the names of its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// Whether blocks have [owners](crate::ledger::ByOwner), so that frees count in the scopes that allocated.
    pub by_owner: bool,
    /// The ledger's sums: all of the program.
    pub totals: Totals,
    /// What counts in no scope, and what threads did since they last entered or left one.
    pub outside: Flow,
    /// What scopes without a parent that have ended counted, with their children.
    pub ended: Flow,
    /// The scopes without a parent, in the order they were made.
    pub scopes: Vec<ScopeFigures>,
}

/// One scope, and those within it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ScopeFigures {
    /// Its name.
    pub name: String,
    /// Its name after those of the scopes around it, with slashes between.
    pub path: String,
    /// What counted in it and in no child.
    pub own: Figures,
    /// What counted in it and in all scopes below it, those that ended included.
    pub total: Figures,
    /// What children that have ended counted, with theirs.
    pub ended: Flow,
    /// Bytes, if it has such a limit.
    pub limit_bytes_soft: Option<u64>,
    /// Bytes, if it has such a limit.
    pub limit_bytes_hard: Option<u64>,
    /// Its children, in the order they were made.
    pub children: Vec<ScopeFigures>,
}

/// The figures of every scope; freshness: see the [module](super).
///
/// Cost: a lock that making and dropping scopes takes, for about 100 ns for each scope; allocates, in the caller's scope.
pub fn snapshot() -> Snapshot {
    super::settle();
    let tree = tree::lock();
    let (scopes, sums) = level(&tree, &tree.top, None);
    let ended = tree.top.ended.flow();
    drop(tree);
    // After the scopes' sums, and sums only grow: what is outside is not negative.
    let totals = ledger::totals();
    let outside = Sums {
        allocated: totals.allocated_bytes.wrapping_sub(sums.allocated),
        freed: totals.freed_bytes.wrapping_sub(sums.freed),
        entered: 0,
    };
    Snapshot { by_owner: crate::owner::is_used(), totals, outside: outside.flow(), ended, scopes }
}

/// The figures of a scope that the caller refers to.
pub(super) fn figures_of(node: &'static Node) -> ScopeFigures {
    super::settle();
    let tree = tree::lock();
    let path = tree.path(node);
    scope(&tree, node, path).0
}

/// The figures of scopes side by side, and their sums, with what ended.
fn level(tree: &Tree, level: &Level, path: Option<&str>) -> (Vec<ScopeFigures>, Sums) {
    let mut sums = level.ended;
    let scopes = level.scopes.values().map(|node| {
        let name = &tree.entry(node).name;
        let path = path.map_or_else(|| name.to_string(), |path| format!("{path}/{name}"));
        let (figures, own) = scope(tree, node, path);
        sums = sums.plus(own);
        figures
    });
    (scopes.collect(), sums)
}

fn scope(tree: &Tree, node: &Node, path: String) -> (ScopeFigures, Sums) {
    let entry = tree.entry(node);
    let own = node.own();
    let (children, below) = level(tree, &entry.below, Some(&path));
    let total = own.plus(below);
    let figures = ScopeFigures {
        name: entry.name.to_string(),
        path,
        own: own.with_peak(node.peak_own()),
        total: total.with_peak(node.peak_total()),
        ended: entry.below.ended.flow(),
        limit_bytes_soft: node.limit_soft().get(),
        limit_bytes_hard: node.limit_hard().get(),
        children,
    };
    (figures, total)
}

/// A tree with a figure in every field.
#[cfg(test)]
pub(super) fn example() -> Snapshot {
    const KIB: u64 = 1024;
    let sums = |allocated, freed, entered| Sums { allocated, freed, entered };
    let scope = |name: &str, path: &str, own, total| ScopeFigures {
        name: name.into(),
        path: path.into(),
        own,
        total,
        ended: Flow::default(),
        limit_bytes_soft: None,
        limit_bytes_hard: None,
        children: Vec::new(),
    };
    let own = sums(0, KIB, 1).with_peak(0);
    let child = scope("a \"b\"\\", "tenants/a \"b\"\\", own, own);
    let own = sums(8 * KIB, 6 * KIB, 2).with_peak(7 * KIB);
    let tenants = ScopeFigures {
        ended: sums(2 * KIB, 0, 9).flow(),
        limit_bytes_soft: Some(1 << 20),
        limit_bytes_hard: Some(2 << 20),
        children: vec![child],
        ..scope("tenants", "tenants", own, sums(10 * KIB, 7 * KIB, 12).with_peak(8 * KIB))
    };
    Snapshot {
        by_owner: false,
        totals: Totals { allocated_bytes: 10 * KIB + 150, freed_bytes: 7 * KIB + 50 },
        outside: sums(150, 50, 0).flow(),
        ended: Flow::default(),
        scopes: vec![tenants],
    }
}
