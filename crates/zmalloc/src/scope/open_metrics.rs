//! A snapshot for Prometheus.

use super::figures::Flow;
use super::snapshot::{ScopeFigures, Snapshot};
use crate::report::MetricKind::{Counter, Gauge};
use crate::report::{MetricFamily, MetricSample, open_metrics};
use std::collections::BTreeMap;

impl Snapshot {
    /// The figures as families of metrics.
    ///
    /// Each scope is a label, `scope="a/b"`, and each figure its own, without its children's, so that sums over labels
    /// count nothing twice. Scopes of the same path are one series: their figures are added, and the peak is the highest.
    ///
    /// | family | type, unit | is |
    /// |---|---|---|
    /// | `zmalloc_scope_allocated_bytes`, `zmalloc_scope_freed_bytes` | counter, bytes | [`own`](ScopeFigures::own) |
    /// | `zmalloc_scope_live_bytes`, `zmalloc_scope_peak_live_bytes` | gauge, bytes | the same |
    /// | `zmalloc_scope_entered` | counter | the same |
    /// | `zmalloc_scope_limit_soft_bytes`, `zmalloc_scope_limit_hard_bytes` | gauge, bytes | where there is a limit; the lowest |
    /// | `zmalloc_scope_ended_allocated_bytes`, `zmalloc_scope_ended_freed_bytes` | counter, bytes | what ended within; `scope=""` at the top |
    /// | `zmalloc_outside_allocated_bytes`, `zmalloc_outside_freed_bytes` | counter, bytes | [`outside`](Snapshot::outside) |
    pub fn metric_families(&self) -> Vec<MetricFamily<'_>> {
        let mut series = BTreeMap::new();
        self.scopes.iter().for_each(|scope| collect(&mut series, scope));
        let mut ended = BTreeMap::from([("", self.ended)]);
        self.scopes.iter().for_each(|scope| collect_ended(&mut ended, scope));
        families(self, &series, &ended)
    }

    /// The [families](Snapshot::metric_families) in the OpenMetrics text format, 1.0; its media type is
    /// `application/openmetrics-text; version=1.0.0; charset=utf-8`.
    pub fn to_open_metrics(&self) -> String {
        open_metrics(&self.metric_families())
    }
}

/// The figures of all scopes of one path.
#[derive(Default)]
struct Series {
    allocated: u64,
    freed: u64,
    live: i64,
    peak: u64,
    entered: u64,
    limit_soft: Option<u64>,
    limit_hard: Option<u64>,
}

fn collect<'path>(all: &mut BTreeMap<&'path str, Series>, scope: &'path ScopeFigures) {
    let lowest = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
    let series = all.entry(&scope.path).or_default();
    series.allocated = series.allocated.wrapping_add(scope.own.allocated_bytes);
    series.freed = series.freed.wrapping_add(scope.own.freed_bytes);
    series.live = series.live.wrapping_add(scope.own.live_bytes);
    series.peak = series.peak.max(scope.own.peak_live_bytes);
    series.entered = series.entered.wrapping_add(scope.own.entered);
    series.limit_soft = lowest(series.limit_soft, scope.limit_bytes_soft);
    series.limit_hard = lowest(series.limit_hard, scope.limit_bytes_hard);
    scope.children.iter().for_each(|child| collect(all, child));
}

fn collect_ended<'path>(all: &mut BTreeMap<&'path str, Flow>, scope: &'path ScopeFigures) {
    let flow = all.entry(&scope.path).or_default();
    flow.allocated_bytes = flow.allocated_bytes.wrapping_add(scope.ended.allocated_bytes);
    flow.freed_bytes = flow.freed_bytes.wrapping_add(scope.ended.freed_bytes);
    scope.children.iter().for_each(|child| collect_ended(all, child));
}

fn families<'path>(
    all: &Snapshot,
    series: &BTreeMap<&'path str, Series>,
    ended: &BTreeMap<&'path str, Flow>,
) -> Vec<MetricFamily<'path>> {
    let own = |figure: fn(&Series) -> Option<i128>| -> Vec<_> {
        let known = |(path, series): (&&'path str, &Series)| Some(sample(Some(*path), figure(series)?));
        series.iter().filter_map(known).collect()
    };
    let gone = |figure: fn(&Flow) -> u64| -> Vec<_> {
        ended.iter().map(|(path, flow)| sample(Some(*path), figure(flow).into())).collect()
    };
    let outside = |bytes: u64| vec![sample(None, bytes.into())];
    let counter = |name, help, samples| MetricFamily { name, kind: Counter, unit: "bytes", help, samples };
    let gauge = |name, help, samples| MetricFamily { name, kind: Gauge, unit: "bytes", help, samples };
    vec![
        counter(
            "zmalloc_scope_allocated_bytes",
            "Bytes allocated in a scope, not in its children.",
            own(|series| Some(series.allocated.into())),
        ),
        counter(
            "zmalloc_scope_freed_bytes",
            "Bytes freed in a scope, or of what it allocated if scopes are counted by owner.",
            own(|series| Some(series.freed.into())),
        ),
        gauge(
            "zmalloc_scope_live_bytes",
            "Allocated less freed bytes of a scope; may be negative.",
            own(|series| Some(series.live.into())),
        ),
        gauge(
            "zmalloc_scope_peak_live_bytes",
            "The most live bytes seen when a scope was entered or left.",
            own(|series| Some(series.peak.into())),
        ),
        MetricFamily {
            unit: "",
            ..counter(
                "zmalloc_scope_entered",
                "Times a scope was entered and left.",
                own(|series| Some(series.entered.into())),
            )
        },
        gauge(
            "zmalloc_scope_limit_soft_bytes",
            "The soft limit of a scope and its children.",
            own(|series| series.limit_soft.map(i128::from)),
        ),
        gauge(
            "zmalloc_scope_limit_hard_bytes",
            "The hard limit of a scope and its children.",
            own(|series| series.limit_hard.map(i128::from)),
        ),
        counter(
            "zmalloc_scope_ended_allocated_bytes",
            "Bytes allocated in scopes within this one that have ended.",
            gone(|flow| flow.allocated_bytes),
        ),
        counter(
            "zmalloc_scope_ended_freed_bytes",
            "Bytes freed in scopes within this one that have ended.",
            gone(|flow| flow.freed_bytes),
        ),
        counter(
            "zmalloc_outside_allocated_bytes",
            "Bytes allocated outside of every scope.",
            outside(all.outside.allocated_bytes),
        ),
        counter("zmalloc_outside_freed_bytes", "Bytes freed outside of every scope.", outside(all.outside.freed_bytes)),
    ]
}

fn sample(scope: Option<&str>, value: i128) -> MetricSample<'_> {
    MetricSample { scope, value }
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::example;
    use std::collections::{BTreeMap, BTreeSet};

    /// The samples of a text, by name and label; holds the text against the format's rules on the way.
    fn parse(text: &str) -> BTreeMap<(String, Option<String>), i128> {
        let body = text.strip_suffix("# EOF\n").expect("the end is marked");
        let (mut samples, mut families) = (BTreeMap::new(), BTreeSet::new());
        let mut family = (String::new(), String::new());
        for line in body.lines() {
            if let Some(head) = line.strip_prefix("# ") {
                let mut words = head.splitn(3, ' ');
                let (key, name, value) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
                match key {
                    "TYPE" => {
                        assert!(families.insert(name.to_owned()), "{name} comes once");
                        family = (name.to_owned(), value.to_owned());
                    }
                    "UNIT" => assert!(name == family.0 && name.ends_with(&format!("_{value}")), "{line}"),
                    "HELP" => assert_eq!(name, family.0),
                    other => panic!("{other} is not of the format"),
                }
                continue;
            }
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, label) = match series.split_once("{scope=\"") {
                Some((name, label)) => (name, Some(unescape(label.strip_suffix("\"}").unwrap()))),
                None => (series, None),
            };
            let suffix = if family.1 == "counter" { "_total" } else { "" };
            assert_eq!(name, format!("{}{suffix}", family.0));
            assert!(samples.insert((name.to_owned(), label), value.parse().unwrap()).is_none(), "{series} comes once");
        }
        samples
    }

    fn unescape(label: &str) -> String {
        let mut characters = label.chars();
        let mut plain = String::new();
        while let Some(character) = characters.next() {
            assert!(character != '"' && character != '\n', "{label} is not escaped");
            plain.push(match character {
                '\\' => match characters.next().unwrap() {
                    'n' => '\n',
                    escaped @ ('\\' | '"') => escaped,
                    other => panic!("{other} is not escaped so"),
                },
                other => other,
            });
        }
        plain
    }

    #[test]
    fn every_figure_is_read_back() {
        let samples = parse(&example().to_open_metrics());
        let value =
            |name: &str, scope: Option<&str>| samples.get(&(name.to_owned(), scope.map(str::to_owned))).copied();
        let (tenants, child) = (Some("tenants"), Some("tenants/a \"b\"\\"));
        assert_eq!(value("zmalloc_scope_allocated_bytes_total", tenants), Some(8 << 10));
        assert_eq!(value("zmalloc_scope_freed_bytes_total", tenants), Some(6 << 10));
        assert_eq!(value("zmalloc_scope_freed_bytes_total", child), Some(1 << 10));
        assert_eq!(value("zmalloc_scope_live_bytes", child), Some(-1 << 10));
        assert_eq!(value("zmalloc_scope_peak_live_bytes", tenants), Some(7 << 10));
        assert_eq!(value("zmalloc_scope_entered_total", tenants), Some(2));
        assert_eq!(value("zmalloc_scope_limit_soft_bytes", tenants), Some(1 << 20));
        assert_eq!(value("zmalloc_scope_limit_hard_bytes", tenants), Some(2 << 20));
        assert_eq!(value("zmalloc_scope_limit_hard_bytes", child), None);
        assert_eq!(value("zmalloc_scope_ended_allocated_bytes_total", tenants), Some(2 << 10));
        assert_eq!(value("zmalloc_scope_ended_freed_bytes_total", Some("")), Some(0));
        assert_eq!(value("zmalloc_outside_allocated_bytes_total", None), Some(150));
        assert_eq!(value("zmalloc_outside_freed_bytes_total", None), Some(50));
    }

    #[test]
    fn labels_add_up_to_the_totals() {
        let snapshot = example();
        let samples = parse(&snapshot.to_open_metrics());
        let sum = |figure: &str| -> i128 {
            samples
                .iter()
                .filter(|((name, _), _)| name.ends_with(&format!("_{figure}_bytes_total")))
                .map(|(_, bytes)| bytes)
                .sum()
        };
        assert_eq!(sum("allocated"), snapshot.totals.allocated_bytes.into());
        assert_eq!(sum("freed"), snapshot.totals.freed_bytes.into());
    }

    #[test]
    fn scopes_of_one_path_are_one_series_and_line_ends_are_escaped() {
        let mut snapshot = example();
        let mut twin = snapshot.scopes[0].clone();
        twin.own.peak_live_bytes = 1;
        twin.children[0].path = "two\nlines".into();
        snapshot.scopes.push(twin);
        let samples = parse(&snapshot.to_open_metrics());
        let value = |name: &str, scope: &str| samples[&(name.to_owned(), Some(scope.to_owned()))];
        assert_eq!(value("zmalloc_scope_allocated_bytes_total", "tenants"), 16 << 10);
        assert_eq!(value("zmalloc_scope_peak_live_bytes", "tenants"), 7 << 10);
        assert_eq!(value("zmalloc_scope_freed_bytes_total", "two\nlines"), 1 << 10);
    }
}
