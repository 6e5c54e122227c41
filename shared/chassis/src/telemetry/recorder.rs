//! The recorder behind the metrics macros: what services count goes to Prometheus' text and over OTLP.
//!
//! Both know the same names and labels. Units follow the names' endings, as `docs/metrics.md` lists them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use metrics_exporter_prometheus::PrometheusRecorder;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

/// Series (a name with its labels) of each kind that go over OTLP at most; the others go to Prometheus only.
const MAX_SERIES: usize = 10_000;

/// Upper bounds of a histogram of seconds: half a millisecond to a minute.
const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Records for Prometheus, and for OTLP where a meter is given.
pub(super) struct FanOut {
    prometheus: PrometheusRecorder,
    meter: Option<Meter>,
    counters: Series<Counter>,
    gauges: Series<Gauge>,
    histograms: Series<Histogram>,
}

/// Handles that were made already, by name and labels.
struct Series<H>(Mutex<HashMap<Key, H>>);

impl<H: Clone> Series<H> {
    fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    /// The handle of a series; `wide` makes one that goes both ways, `narrow` one for Prometheus only.
    fn of(&self, key: &Key, wide: impl FnOnce() -> H, narrow: impl FnOnce() -> H) -> H {
        let mut handles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = handles.get(key) {
            return handle.clone();
        }
        if handles.len() >= MAX_SERIES {
            return narrow();
        }
        let handle = wide();
        handles.insert(key.clone(), handle.clone());
        handle
    }
}

impl FanOut {
    pub(super) fn new(prometheus: PrometheusRecorder, meter: Option<Meter>) -> Self {
        let (counters, gauges, histograms) = (Series::new(), Series::new(), Series::new());
        Self { prometheus, meter, counters, gauges, histograms }
    }
}

impl Recorder for FanOut {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.prometheus.describe_counter(key, unit, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.prometheus.describe_gauge(key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.prometheus.describe_histogram(key, unit, description);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        let text = || self.prometheus.register_counter(key, metadata);
        let Some(meter) = &self.meter else { return text() };
        let wide = || {
            let instrument = meter.u64_counter(key.name().to_owned()).with_unit(unit(key.name())).build();
            let (attributes, total) = (attributes(key), AtomicU64::new(0));
            Counter::from_arc(Arc::new(TwoCounters { text: text(), instrument, attributes, total }))
        };
        self.counters.of(key, wide, text)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        let text = || self.prometheus.register_gauge(key, metadata);
        let Some(meter) = &self.meter else { return text() };
        let wide = || {
            let instrument = meter.f64_gauge(key.name().to_owned()).with_unit(unit(key.name())).build();
            let (attributes, value) = (attributes(key), Mutex::new(0.0));
            Gauge::from_arc(Arc::new(TwoGauges { text: text(), instrument, attributes, value }))
        };
        self.gauges.of(key, wide, text)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        let text = || self.prometheus.register_histogram(key, metadata);
        let Some(meter) = &self.meter else { return text() };
        let wide = || {
            let unit = unit(key.name());
            let builder = meter.f64_histogram(key.name().to_owned()).with_unit(unit);
            let builder = if unit == "s" { builder.with_boundaries(SECONDS.to_vec()) } else { builder };
            let instrument = builder.build();
            Histogram::from_arc(Arc::new(TwoHistograms { text: text(), instrument, attributes: attributes(key) }))
        };
        self.histograms.of(key, wide, text)
    }
}

/// A name's unit, as UCUM writes it: <https://ucum.org/ucum>.
fn unit(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    match name.rsplit('_').next() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        _ => "1",
    }
}

fn attributes(key: &Key) -> Vec<KeyValue> {
    key.labels().map(|label| KeyValue::new(label.key().to_owned(), label.value().to_owned())).collect()
}

struct TwoCounters {
    text: Counter,
    instrument: opentelemetry::metrics::Counter<u64>,
    attributes: Vec<KeyValue>,
    total: AtomicU64,
}

impl CounterFn for TwoCounters {
    fn increment(&self, value: u64) {
        self.text.increment(value);
        self.total.fetch_add(value, Ordering::Relaxed);
        self.instrument.add(value, &self.attributes);
    }

    fn absolute(&self, value: u64) {
        self.text.absolute(value);
        let before = self.total.fetch_max(value, Ordering::Relaxed);
        self.instrument.add(value.saturating_sub(before), &self.attributes);
    }
}

struct TwoGauges {
    text: Gauge,
    instrument: opentelemetry::metrics::Gauge<f64>,
    attributes: Vec<KeyValue>,
    value: Mutex<f64>,
}

impl TwoGauges {
    /// Changes and records under one lock: the last change is the last one recorded.
    fn change(&self, change: impl FnOnce(f64) -> f64) {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        *value = change(*value);
        self.instrument.record(*value, &self.attributes);
    }
}

impl GaugeFn for TwoGauges {
    fn increment(&self, value: f64) {
        self.text.increment(value);
        self.change(|before| before + value);
    }

    fn decrement(&self, value: f64) {
        self.text.decrement(value);
        self.change(|before| before - value);
    }

    fn set(&self, value: f64) {
        self.text.set(value);
        self.change(|_| value);
    }
}

struct TwoHistograms {
    text: Histogram,
    instrument: opentelemetry::metrics::Histogram<f64>,
    attributes: Vec<KeyValue>,
}

impl HistogramFn for TwoHistograms {
    fn record(&self, value: f64) {
        self.text.record(value);
        self.instrument.record(value, &self.attributes);
    }
}

#[cfg(test)]
mod tests;
