//! Why a budgeted future ended.

use super::{Scope, settle, snapshot};
use core::fmt;

/// A scope, or one around it, is over its hard limit: why a [budgeted](Scope::budgeted) future ended, or what
/// [`check_limit_hard`](Scope::check_limit_hard) saw.
///
/// With the feature `serde` it serializes under the names of its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct OverBudget {
    /// The [path](Scope::path) of the scope that is over its limit: the innermost, if several are.
    pub path: String,
    /// Its hard limit, in bytes.
    pub limit_bytes: u64,
    /// Its live bytes then, children included.
    pub live_bytes: i64,
    /// The children with the most live bytes, the largest first, at most [`LARGEST`](OverBudget::LARGEST).
    pub largest_children: Vec<ChildUse>,
}

/// A child of a scope, and what it uses.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ChildUse {
    /// The child's [path](Scope::path).
    pub path: String,
    /// Its live bytes, its own children included.
    pub live_bytes: i64,
}

impl OverBudget {
    /// How many children an error names.
    pub const LARGEST: usize = 3;

    /// What there is to say if a scope or one around it is over its limit.
    pub(super) fn of(scope: &Scope) -> Option<OverBudget> {
        settle();
        let mut around = core::iter::successors(Some(scope.node), |node| node.parent());
        let (node, limit_bytes, live_bytes) = around.find_map(|node| {
            let (limit, live) = (node.limit_hard().get()?, node.live_total());
            (i128::from(live) > i128::from(limit)).then_some((node, limit, live))
        })?;
        let figures = snapshot::figures_of(node);
        let children = figures.children.into_iter();
        let mut largest_children: Vec<ChildUse> =
            children.map(|child| ChildUse { path: child.path, live_bytes: child.total.live_bytes }).collect();
        largest_children.retain(|child| child.live_bytes > 0);
        largest_children.sort_by_key(|child| core::cmp::Reverse(child.live_bytes));
        largest_children.truncate(OverBudget::LARGEST);
        Some(OverBudget { path: figures.path, limit_bytes, live_bytes, largest_children })
    }
}

/// For example: `scope tenant-42 is over its budget: 2097152 bytes live, hard limit 1048576 bytes; largest children:
/// tenant-42/upload 2000000 bytes`.
impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OverBudget { path, limit_bytes, live_bytes, largest_children } = self;
        write!(f, "scope {path} is over its budget: {live_bytes} bytes live, hard limit {limit_bytes} bytes")?;
        for (at, child) in largest_children.iter().enumerate() {
            let before = if at == 0 { "; largest children: " } else { ", " };
            write!(f, "{before}{} {} bytes", child.path, child.live_bytes)?;
        }
        Ok(())
    }
}

impl core::error::Error for OverBudget {}
