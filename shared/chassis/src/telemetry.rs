//! Logs to the standard error, metrics for Prometheus.

use anyhow::Context;
use metrics_exporter_prometheus::PrometheusBuilder;
pub use metrics_exporter_prometheus::PrometheusHandle as Metrics;
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

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
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which logs: a level, or directives such as `warn,atalaya_bus=debug`. `RUST_LOG` overrides it.
    pub log: String,
    /// How they look.
    pub log_format: LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        Self { log: "warn".to_owned(), log_format: LogFormat::Text }
    }
}

/// Installs logs and metrics for the whole process, once.
///
/// # Errors
/// If the log directives cannot be read, or telemetry was installed before.
pub fn install(config: &Config) -> anyhow::Result<Metrics> {
    let directives = std::env::var("RUST_LOG").unwrap_or_else(|_| config.log.clone());
    let filter = EnvFilter::try_new(&directives).with_context(|| format!("telemetry.log: '{directives}'"))?;
    let color = std::env::var_os("NO_COLOR").is_none() && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(color);
    let installed = match config.log_format {
        LogFormat::Text => logs.with_target(false).try_init(),
        LogFormat::Json => logs.json().try_init(),
    };
    installed.map_err(|error| anyhow::anyhow!("logs: {error}"))?;
    PrometheusBuilder::new().install_recorder().context("metrics")
}
