//! Logs to the standard error, metrics for Prometheus; where configured, traces, logs and metrics over OTLP besides.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use metrics_exporter_prometheus::PrometheusBuilder;
pub use metrics_exporter_prometheus::PrometheusHandle as Metrics;
use serde::Deserialize;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

pub mod otlp;

mod exporters;
mod recorder;

use exporters::Exporters;
use recorder::FanOut;

/// How often the samples of histograms are summed up; without it they would pile up where nobody scrapes.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The name of a process that gives none.
const DEFAULT_SERVICE: &str = "atalaya";

/// What sends over OTLP in this process, from [`install_as`] to [`shutdown`].
static EXPORTERS: Mutex<Option<Exporters>> = Mutex::new(None);

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// How logs look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// A line a person reads.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Section `telemetry`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which logs: a level, or directives such as `warn,atalaya_bus=debug`. `RUST_LOG` overrides it.
    pub log: String,
    /// How they look.
    pub log_format: LogFormat,
    /// Where traces, logs and metrics go besides; nowhere if not given.
    pub otlp: Option<otlp::Config>,
}

impl Default for Config {
    fn default() -> Self {
        Self { log: "warn".to_owned(), log_format: LogFormat::Text, otlp: None }
    }
}

/// Installs logs, metrics and, where configured, OTLP for the whole process, once; its name there is `atalaya`.
///
/// # Errors
/// As [`install_as`].
pub fn install(config: &Config) -> anyhow::Result<Metrics> {
    install_as(DEFAULT_SERVICE, config)
}

/// Installs logs, metrics and, where configured, OTLP for the whole process, once. `service` is its name there.
///
/// # Errors
/// If the log directives or section `otlp` cannot be read, or telemetry was installed before.
pub fn install_as(service: &str, config: &Config) -> anyhow::Result<Metrics> {
    let directives = std::env::var("RUST_LOG").unwrap_or_else(|_| config.log.clone());
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let mut layers = vec![to_stderr(config.log_format, filter(&directives)?)];
    match &config.otlp {
        None => metrics::set_global_recorder(recorder).context("metrics")?,
        Some(otlp) => {
            let exporters = Exporters::start(service, otlp).context("telemetry.otlp")?;
            layers.extend(exporters.layers(&directives)?);
            metrics::set_global_recorder(FanOut::new(recorder, exporters.meter())).context("metrics")?;
            *EXPORTERS.lock().unwrap_or_else(PoisonError::into_inner) = Some(exporters);
        }
    }
    tracing_subscriber::registry().with(layers).try_init().context("logs")?;
    keep_up(metrics.clone()).context("metrics")?;
    Ok(metrics)
}

/// Sends what is not sent yet over OTLP, within a few seconds, and ends it. Blocks; the last act of a process. Nothing
/// happens where OTLP is not configured, or the second time.
pub fn shutdown() {
    let exporters = EXPORTERS.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(exporters) = exporters {
        exporters.shutdown();
    }
}

fn filter(directives: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(directives).with_context(|| format!("telemetry.log: '{directives}'"))
}

fn to_stderr(format: LogFormat, filter: EnvFilter) -> BoxedLayer {
    let color = std::env::var_os("NO_COLOR").is_none() && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(color);
    match format {
        LogFormat::Text => logs.with_target(false).with_filter(filter).boxed(),
        LogFormat::Json => logs.json().with_filter(filter).boxed(),
    }
}

/// A thread that lives as long as the process.
fn keep_up(metrics: Metrics) -> std::io::Result<()> {
    let upkeep = move || {
        loop {
            std::thread::sleep(UPKEEP_EVERY);
            metrics.run_upkeep();
        }
    };
    std::thread::Builder::new().name("metrics".to_owned()).spawn(upkeep).map(drop)
}
