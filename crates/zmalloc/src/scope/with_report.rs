//! The figures of the program and of its scopes, together.

use super::snapshot::{Snapshot, snapshot};
use crate::report::{Report, open_metrics};
use core::fmt;

/// A [`Report`] with the tree of scopes; see [`Report::with_scopes`].
///
/// As text: [`Display`](fmt::Display) is both tables, [`to_open_metrics`](ReportWithScopes::to_open_metrics) both for
/// Prometheus; Redis's `INFO` has no place for a tree: [`Report::to_info`]. With the feature `serde`, the
/// [report's keys](Report#serialized) and one more, `scopes`: the [`Snapshot`] under the names of its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReportWithScopes {
    /// The program.
    pub report: Report,
    /// Its scopes, a little later.
    pub scopes: Snapshot,
}

impl Report {
    /// The same report with the tree of scopes, read now: apart, since a report allocates nothing, and a tree does.
    ///
    /// Cost: that of a [`snapshot`](super::snapshot()).
    #[must_use]
    pub fn with_scopes(self) -> ReportWithScopes {
        ReportWithScopes { report: self, scopes: snapshot() }
    }
}

impl ReportWithScopes {
    /// The families of [the report](Report::metric_families) and of [the scopes](Snapshot::metric_families) in the
    /// OpenMetrics text format, 1.0; its media type is `application/openmetrics-text; version=1.0.0; charset=utf-8`.
    pub fn to_open_metrics(&self) -> String {
        let mut families = self.report.metric_families();
        families.extend(self.scopes.metric_families());
        open_metrics(&families)
    }
}

/// The report's table, and the scopes'.
impl fmt::Display for ReportWithScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.report, self.scopes)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for ReportWithScopes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use crate::report::serialize::KEYS;
        use serde::ser::SerializeStruct;

        let mut map = serializer.serialize_struct("Report", KEYS + 1)?;
        self.report.serialize_keys(&mut map)?;
        map.serialize_field("scopes", &self.scopes)?;
        map.end()
    }
}
