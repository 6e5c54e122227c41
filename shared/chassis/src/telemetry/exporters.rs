//! What sends over OTLP: a batch of spans and logs, and all metrics, at every interval.
//!
//! Sending has a runtime of its own, so that it neither waits for the services' work nor ends before the last of it is
//! sent. What cannot be sent is counted, told in the log, and given up: services never wait for it.

use std::fmt;
use std::time::Duration;

use anyhow::Context;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::trace::TracerProvider;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{self, BatchLogProcessor, LogBatch, LogExporter, SdkLoggerProvider};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::{self, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;

use super::otlp::{Config, Resolved};
use super::{BoxedLayer, filter};

/// How long the collector may take for one request.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the last of it may take at the end: with the drain it stays within Kubernetes' default grace period.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// Spans and log records that wait at most, each; beyond, new ones are dropped.
const MAX_WAITING: usize = 16_384;

/// Spans or log records of one request at most.
const MAX_PER_REQUEST: usize = 1_024;

/// Spans of our own crates are sent, at this level and graver.
const TRACED_TARGET: &str = "atalaya";
const TRACED_LEVEL: LevelFilter = LevelFilter::INFO;

/// What sending itself logs is not sent, or each request would make the next one.
const SENDERS: &str = "h2=off,hyper=off,hyper_util=off,tonic=off,tower=off,rustls=off,opentelemetry=off,\
                       opentelemetry_sdk=off,opentelemetry_otlp=off,atalaya_chassis::telemetry=off";

/// The instrumentation scope of everything that is sent.
const SCOPE: &str = "atalaya";

/// The three ways out, each if it is switched on.
pub(super) struct Exporters {
    traces: Option<SdkTracerProvider>,
    logs: Option<SdkLoggerProvider>,
    metrics: Option<SdkMeterProvider>,
    runtime: tokio::runtime::Runtime,
}

impl Exporters {
    /// Starts them. The collector need not be there yet.
    pub(super) fn start(service: &str, config: &Config) -> anyhow::Result<Self> {
        let resolved = config.resolve()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("otlp")
            .enable_all()
            .build()
            .context("runtime")?;
        let _inside = runtime.enter();
        let resource = resource(service);
        let traces =
            config.traces.then(|| traces(config, &resolved, resource.clone())).transpose().context("traces")?;
        let logs = config.logs.then(|| logs(config, &resolved, resource.clone())).transpose().context("logs")?;
        let metrics = config.metrics.then(|| metrics(config, &resolved, resource)).transpose().context("metrics")?;
        drop(_inside);
        Ok(Self { traces, logs, metrics, runtime })
    }

    /// The layers that spans and events go through.
    pub(super) fn layers(&self, directives: &str) -> anyhow::Result<Vec<BoxedLayer>> {
        let mut layers = Vec::new();
        if let Some(traces) = &self.traces {
            let ours = Targets::new().with_target(TRACED_TARGET, TRACED_LEVEL);
            layers.push(tracing_opentelemetry::layer().with_tracer(traces.tracer(SCOPE)).with_filter(ours).boxed());
        }
        if let Some(logs) = &self.logs {
            let filter = filter(&format!("{directives},{SENDERS}"))?;
            layers.push(OpenTelemetryTracingBridge::new(logs).with_filter(filter).boxed());
        }
        Ok(layers)
    }

    /// Where metrics go; none if they are switched off.
    pub(super) fn meter(&self) -> Option<Meter> {
        self.metrics.as_ref().map(|metrics| metrics.meter(SCOPE))
    }

    /// Sends the rest, all three at once, and ends.
    pub(super) fn shutdown(self) {
        let Self { traces, logs, metrics, runtime } = self;
        std::thread::scope(|scope| {
            // What fails was counted and told by the exporter; at the end there is nobody left to tell.
            scope.spawn(|| traces.map(|traces| traces.shutdown_with_timeout(SHUTDOWN_TIMEOUT)));
            scope.spawn(|| logs.map(|logs| logs.shutdown_with_timeout(SHUTDOWN_TIMEOUT)));
            scope.spawn(|| metrics.map(|metrics| metrics.shutdown_with_timeout(SHUTDOWN_TIMEOUT)));
        });
        runtime.shutdown_background();
    }
}

/// Who sends. The environment variable `OTEL_RESOURCE_ATTRIBUTES` adds to it.
fn resource(service: &str) -> Resource {
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    let attributes = [
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", format!("{host}-{}", std::process::id())),
    ];
    Resource::builder().with_service_name(service.to_owned()).with_attributes(attributes).build()
}

/// An exporter's builder with endpoint, headers and TLS.
fn over_grpc<B: WithExportConfig + WithTonicConfig>(builder: B, config: &Config, resolved: &Resolved) -> B {
    let builder = builder
        .with_endpoint(&config.endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .with_metadata(MetadataMap::from_headers(resolved.headers.clone()));
    match &resolved.ca {
        None => builder,
        Some(ca) => builder.with_tls_config(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca))),
    }
}

fn traces(config: &Config, resolved: &Resolved, resource: Resource) -> anyhow::Result<SdkTracerProvider> {
    let exporter = over_grpc(opentelemetry_otlp::SpanExporter::builder().with_tonic(), config, resolved).build()?;
    let batches = trace::BatchConfigBuilder::default()
        .with_max_queue_size(MAX_WAITING)
        .with_max_export_batch_size(MAX_PER_REQUEST)
        .with_scheduled_delay(resolved.interval)
        .build();
    let processor = BatchSpanProcessor::builder(Watched("traces", exporter)).with_batch_config(batches).build();
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.traces_ratio)));
    let provider = SdkTracerProvider::builder().with_span_processor(processor).with_sampler(sampler);
    Ok(provider.with_resource(resource).build())
}

fn logs(config: &Config, resolved: &Resolved, resource: Resource) -> anyhow::Result<SdkLoggerProvider> {
    let exporter = over_grpc(opentelemetry_otlp::LogExporter::builder().with_tonic(), config, resolved).build()?;
    let batches = logs::BatchConfigBuilder::default()
        .with_max_queue_size(MAX_WAITING)
        .with_max_export_batch_size(MAX_PER_REQUEST)
        .with_scheduled_delay(resolved.interval)
        .build();
    let processor = BatchLogProcessor::builder(Watched("logs", exporter)).with_batch_config(batches).build();
    Ok(SdkLoggerProvider::builder().with_log_processor(processor).with_resource(resource).build())
}

fn metrics(config: &Config, resolved: &Resolved, resource: Resource) -> anyhow::Result<SdkMeterProvider> {
    let exporter = over_grpc(opentelemetry_otlp::MetricExporter::builder().with_tonic(), config, resolved).build()?;
    let reader = PeriodicReader::builder(Watched("metrics", exporter)).with_interval(resolved.interval).build();
    Ok(SdkMeterProvider::builder().with_reader(reader).with_resource(resource).build())
}

/// An exporter whose failures are counted and told: the SDK keeps them to itself.
#[derive(Debug)]
struct Watched<E>(&'static str, E);

impl<E> Watched<E> {
    fn note(&self, result: OTelSdkResult) -> OTelSdkResult {
        if let Err(error) = &result {
            export_failed(self.0, error);
        }
        result
    }
}

fn export_failed(signal: &'static str, error: &dyn fmt::Display) {
    metrics::counter!("atalaya_telemetry_export_failures_total", "signal" => signal).increment(1);
    tracing::warn!(signal, %error, "telemetry could not be sent and is lost");
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.note(self.1.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.1.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.1.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.1.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for Watched<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        self.note(self.1.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.1.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.1.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Watched<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.note(self.1.export(metrics).await)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.1.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.1.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.1.temporality()
    }
}
