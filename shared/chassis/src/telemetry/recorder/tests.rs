use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Metric, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};

use super::*;

/// The last export: name, unit, labels and value of each series (of a histogram its sum, count and bounds).
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<String>>>);

impl PushMetricExporter for Kept {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let all = metrics.scope_metrics().flat_map(|scope| scope.metrics());
        let mut lines: Vec<_> = all.flat_map(lines).collect();
        lines.sort();
        *self.0.lock().unwrap() = lines;
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

fn lines(metric: &Metric) -> Vec<String> {
    let line = |attributes: Vec<&KeyValue>, value: &dyn std::fmt::Display| {
        let labels: Vec<_> = attributes.iter().map(|label| format!("{}={}", label.key, label.value)).collect();
        format!("{} [{}] {{{}}} {value}", metric.name(), metric.unit(), labels.join(","))
    };
    match metric.data() {
        AggregatedMetrics::U64(MetricData::Sum(sum)) => {
            sum.data_points().map(|point| line(point.attributes().collect(), &point.value())).collect()
        }
        AggregatedMetrics::F64(MetricData::Gauge(gauge)) => {
            gauge.data_points().map(|point| line(point.attributes().collect(), &point.value())).collect()
        }
        AggregatedMetrics::F64(MetricData::Histogram(histogram)) => histogram
            .data_points()
            .map(|point| {
                let value = format!("{} of {} in {}", point.sum(), point.count(), point.bounds().count());
                line(point.attributes().collect(), &value)
            })
            .collect(),
        _ => panic!("{metric:?}"),
    }
}

fn provider(exporter: &Kept) -> SdkMeterProvider {
    SdkMeterProvider::builder().with_reader(PeriodicReader::builder(exporter.clone()).build()).build()
}

fn sent(provider: &SdkMeterProvider, exporter: &Kept) -> Vec<String> {
    provider.force_flush().unwrap();
    exporter.0.lock().unwrap().clone()
}

#[test]
fn both_ways_say_the_same() {
    let exporter = Kept::default();
    let provider = provider(&exporter);
    let prometheus = PrometheusBuilder::new().build_recorder();
    let text = prometheus.handle();
    let recorder = FanOut::new(prometheus, Some(provider.meter("test")));
    let count = || {
        for kind in ["webhook", "smtp", "webhook"] {
            metrics::counter!("sent_total", "receiver" => kind).increment(2);
        }
        metrics::counter!("archive_bytes").increment(7);
        metrics::counter!("seen_total").absolute(5);
        metrics::counter!("seen_total").absolute(4);
        metrics::gauge!("lanes").increment(3.0);
        metrics::gauge!("lanes").decrement(1.0);
        metrics::histogram!("flush_seconds").record(0.25);
        metrics::histogram!("flush_seconds").record(0.5);
    };
    metrics::with_local_recorder(&recorder, count);
    let expected = [
        "archive_bytes [By] {} 7",
        "flush_seconds [s] {} 0.75 of 2 in 16",
        "lanes [1] {} 2",
        "seen_total [1] {} 5",
        "sent_total [1] {receiver=smtp} 2",
        "sent_total [1] {receiver=webhook} 4",
    ];
    assert_eq!(sent(&provider, &exporter), expected);
    let text = text.render();
    for line in
        ["sent_total{receiver=\"webhook\"} 4", "archive_bytes 7", "seen_total 5", "lanes 2", "flush_seconds_count 2"]
    {
        assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
    }
    metrics::with_local_recorder(&recorder, || metrics::gauge!("lanes").set(9.0));
    assert!(sent(&provider, &exporter).contains(&"lanes [1] {} 9".to_owned()));
}

#[test]
fn series_beyond_the_limit_go_to_prometheus_only() {
    let exporter = Kept::default();
    let provider = provider(&exporter);
    let prometheus = PrometheusBuilder::new().build_recorder();
    let text = prometheus.handle();
    let recorder = FanOut::new(prometheus, Some(provider.meter("test")));
    metrics::with_local_recorder(&recorder, || {
        for at in 0..MAX_SERIES {
            metrics::counter!("many_total", "at" => at.to_string()).increment(1);
        }
        metrics::counter!("beyond_total").increment(1);
        metrics::counter!("many_total", "at" => "0").increment(1);
    });
    assert!(text.render().contains("\nbeyond_total 1\n"));
    assert!(text.render().contains("many_total{at=\"0\"} 2"));
    let sent = sent(&provider, &exporter);
    assert!(!sent.is_empty() && sent.iter().all(|line| line.starts_with("many_total")), "{}", sent.len());
}
