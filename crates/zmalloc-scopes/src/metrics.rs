//! Scopes and reports through the facade of the crate `metrics`, to whichever recorder the program installed.
//!
//! The names, types and labels are those of [`Snapshot::metric_families`] and [`Report::metric_families`]; counters get
//! the suffix `_total` of Prometheus.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use std::collections::{BTreeMap, BTreeSet};
use zmalloc::Report;
use zmalloc::report::{MetricFamily, MetricKind};
use zmalloc::scope::Snapshot;

/// Publishes figures each time it is asked to: from a task once in a while, or before a scrape.
///
/// ```
/// use zmalloc::Report;
/// use zmalloc_scopes::metrics::Publisher;
///
/// let mut publisher = Publisher::new();
/// let figures = Report::now().with_scopes();
/// publisher.publish_report(&figures.report);
/// publisher.publish_scopes(&figures.scopes);
/// ```
///
/// A recorder keeps what it was told once. So a gauge of a scope that is gone is set to 0, once; its counters stay, and
/// their growth passes to `zmalloc_scope_ended_...` of the scope that was around it.
///
/// What a recorder allocates for a new label counts where the caller is: publish outside of the scopes that are measured.
#[derive(Debug, Default)]
pub struct Publisher {
    described: BTreeSet<&'static str>,
    /// The scopes that a gauge was last published for.
    shown: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Publisher {
    /// One that has published nothing.
    pub fn new() -> Publisher {
        Publisher::default()
    }

    /// Publishes the figures of the program.
    pub fn publish_report(&mut self, report: &Report) {
        report.metric_families().iter().for_each(|family| self.publish(family));
    }

    /// Publishes the figures of every scope.
    pub fn publish_scopes(&mut self, scopes: &Snapshot) {
        scopes.metric_families().iter().for_each(|family| self.publish(family));
    }

    fn publish(&mut self, family: &MetricFamily<'_>) {
        match family.kind {
            MetricKind::Counter => self.publish_counter(family),
            MetricKind::Gauge => self.publish_gauge(family),
        }
    }

    fn publish_counter(&mut self, family: &MetricFamily<'_>) {
        let name = format!("{}_total", family.name);
        if self.described.insert(family.name) {
            describe_counter!(name.clone(), unit(family), family.help);
        }
        for sample in &family.samples {
            let counter = match sample.scope {
                Some(scope) => counter!(name.clone(), "scope" => scope.to_owned()),
                None => counter!(name.clone()),
            };
            counter.absolute(sample.value as u64);
        }
    }

    fn publish_gauge(&mut self, family: &MetricFamily<'_>) {
        if self.described.insert(family.name) {
            describe_gauge!(family.name, unit(family), family.help);
        }
        let mut gone = self.shown.remove(family.name).unwrap_or_default();
        let mut shown = BTreeSet::new();
        for sample in &family.samples {
            let value = sample.value as f64;
            match sample.scope {
                Some(scope) => {
                    gone.remove(scope);
                    shown.insert(scope.to_owned());
                    gauge!(family.name, "scope" => scope.to_owned()).set(value);
                }
                None => gauge!(family.name).set(value),
            }
        }
        gone.into_iter().for_each(|scope| gauge!(family.name, "scope" => scope).set(0.0));
        self.shown.insert(family.name, shown);
    }
}

fn unit(family: &MetricFamily<'_>) -> Unit {
    if family.unit == "bytes" { Unit::Bytes } else { Unit::Count }
}
