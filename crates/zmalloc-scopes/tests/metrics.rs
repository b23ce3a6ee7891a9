//! What a recorder of the metrics facade is told.

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use zmalloc::backend::Libc;
use zmalloc::{Report, Scope, Zmalloc, scope};
use zmalloc_scopes::metrics::Publisher;

#[global_allocator]
static HEAP: Zmalloc<Libc> = Zmalloc::new();

/// Keeps the last value of everything.
#[derive(Clone, Default)]
struct Last {
    values: Arc<Mutex<BTreeMap<String, f64>>>,
    described: Arc<Mutex<BTreeMap<String, Option<Unit>>>>,
}

struct Cell(Last, String);

impl Cell {
    fn new(last: &Last, key: &Key) -> Arc<Cell> {
        let labels = key.labels().map(|label| format!("{}={}", label.key(), label.value()));
        let labels = labels.collect::<Vec<_>>().join(",");
        Arc::new(Cell(last.clone(), format!("{}{{{labels}}}", key.name())))
    }

    fn store(&self, value: f64) {
        self.0.values.lock().unwrap().insert(self.1.clone(), value);
    }
}

impl CounterFn for Cell {
    fn increment(&self, _: u64) {
        unreachable!("counters are set");
    }

    fn absolute(&self, value: u64) {
        self.store(value as f64);
    }
}

impl GaugeFn for Cell {
    fn increment(&self, _: f64) {
        unreachable!("gauges are set");
    }

    fn decrement(&self, _: f64) {
        unreachable!("gauges are set");
    }

    fn set(&self, value: f64) {
        self.store(value);
    }
}

impl Recorder for Last {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        assert!(self.described.lock().unwrap().insert(name.as_str().to_owned(), unit).is_none(), "once");
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        assert!(self.described.lock().unwrap().insert(name.as_str().to_owned(), unit).is_none(), "once");
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        unreachable!("there is none");
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Cell::new(self, key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Cell::new(self, key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        unreachable!("there is none");
    }
}

#[test]
fn every_sample_is_published_and_gauges_of_scopes_that_ended_are_zero() {
    let recorder = Last::default();
    let mut publisher = Publisher::new();
    let mut publish = || {
        let figures = Report::of::<Libc>().with_scopes();
        with_local_recorder(&recorder, || {
            publisher.publish_report(&figures.report);
            publisher.publish_scopes(&figures.scopes);
        });
        figures
    };
    let tenants = Scope::new("tenants");
    let tenant = tenants.child("tenant");
    tenant.set_limit_bytes_hard(Some(1 << 20));
    let kept = tenant.run(|| vec![0_u8; 10_000]);
    let figures = publish();

    // The same as the text for Prometheus has, sample by sample.
    let text = figures.to_open_metrics();
    let samples: BTreeMap<String, f64> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let series = if series.contains('{') { series.replace('"', "") } else { format!("{series}{{}}") };
            (series, value.parse().unwrap())
        })
        .collect();
    assert_eq!(*recorder.values.lock().unwrap(), samples);
    assert!(samples["zmalloc_scope_live_bytes{scope=tenants/tenant}"] >= 10_000.0);
    assert_eq!(recorder.described.lock().unwrap()["zmalloc_scope_allocated_bytes_total"], Some(Unit::Bytes));
    assert_eq!(recorder.described.lock().unwrap()["zmalloc_threads"], Some(Unit::Count));

    tenant.set_limit_bytes_hard(None);
    drop(tenant);
    drop(kept);
    publish();
    let values = recorder.values.lock().unwrap().clone();
    let of = |name: &str, scope: &str| values[&format!("{name}{{scope={scope}}}")];
    assert_eq!(of("zmalloc_scope_live_bytes", "tenants/tenant"), 0.0);
    assert_eq!(of("zmalloc_scope_limit_hard_bytes", "tenants/tenant"), 0.0);
    assert!(of("zmalloc_scope_ended_allocated_bytes_total", "tenants") >= 10_000.0);
    assert!(of("zmalloc_scope_allocated_bytes_total", "tenants/tenant") >= 10_000.0, "counters stay");
    drop(scope::snapshot());
}
