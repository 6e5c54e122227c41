//! What is told of OTLP: setting `telemetry.otlp`.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde::Deserialize;

use crate::secret::Reference;

/// How often at most and at least something is sent, milliseconds.
const MIN_INTERVAL_MS: u64 = 100;
const MAX_INTERVAL_MS: u64 = 3_600_000;

/// How it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Protobuf over gRPC.
    #[default]
    Grpc,
}

/// Setting `telemetry.otlp`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// URL of the collector, such as `http://127.0.0.1:4317`; `https` needs `ca`.
    pub endpoint: String,
    /// How it is sent.
    #[serde(default)]
    pub protocol: Protocol,
    /// Headers of every request, such as `authorization`; the value by reference. Beyond loopback only over `https`.
    #[serde(default)]
    pub headers: BTreeMap<String, Reference>,
    /// Authorities of the collector's certificate, PEM, such as `file:/etc/ssl/certs/ca-certificates.crt`.
    #[serde(default)]
    pub ca: Option<Reference>,
    /// Whether traces are sent.
    #[serde(default = "yes")]
    pub traces: bool,
    /// Share of the traces that begin here and are sent, 0 to 1. What began elsewhere follows its beginning.
    #[serde(default = "whole")]
    pub traces_ratio: f64,
    /// Whether metrics are sent.
    #[serde(default = "yes")]
    pub metrics: bool,
    /// Whether logs are sent: those that `telemetry.log` selects, but for what sending itself would log.
    #[serde(default = "yes")]
    pub logs: bool,
    /// How often something is sent, milliseconds; traces and logs sooner where many wait.
    #[serde(default = "interval_ms")]
    pub interval_ms: u64,
}

fn yes() -> bool {
    true
}

fn whole() -> f64 {
    1.0
}

fn interval_ms() -> u64 {
    10_000
}

/// The parts of a configuration that are read at start.
pub(super) struct Resolved {
    pub(super) headers: HeaderMap,
    pub(super) ca: Option<Vec<u8>>,
    pub(super) interval: Duration,
}

impl Config {
    /// Checks it and reads what it refers to.
    pub(super) fn resolve(&self) -> anyhow::Result<Resolved> {
        let uri: Uri = self.endpoint.parse().with_context(|| format!("endpoint: '{}'", self.endpoint))?;
        let ca = self.ca.as_ref().map(Reference::read).transpose().context("ca")?;
        match uri.scheme_str() {
            Some("http") => ensure!(ca.is_none(), "ca: an http endpoint has no certificate: use https"),
            Some("https") => ensure!(
                ca.is_some(),
                "ca: an https endpoint needs the authorities of its certificate, such as \
                 file:/etc/ssl/certs/ca-certificates.crt"
            ),
            _ => bail!("endpoint: '{}' is no http or https URL", self.endpoint),
        }
        let crosses = uri.scheme_str() == Some("http") && !uri.host().is_some_and(is_loopback);
        ensure!(self.headers.is_empty() || !crosses, "headers: they would cross the network in plain text: use https");
        ensure!((0.0..=1.0).contains(&self.traces_ratio), "traces_ratio: {} is not 0 to 1", self.traces_ratio);
        ensure!(
            (MIN_INTERVAL_MS..=MAX_INTERVAL_MS).contains(&self.interval_ms),
            "interval_ms: {} is not {MIN_INTERVAL_MS} to {MAX_INTERVAL_MS}",
            self.interval_ms
        );
        Ok(Resolved { headers: self.read_headers()?, ca, interval: Duration::from_millis(self.interval_ms) })
    }

    fn read_headers(&self) -> anyhow::Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, reference) in &self.headers {
            let header: HeaderName = name.parse().with_context(|| format!("headers: '{name}'"))?;
            // The error of a value must not show it.
            let mut value = HeaderValue::try_from(reference.read_line().context("headers")?)
                .map_err(|_| anyhow::anyhow!("headers: {name}: what {reference} holds is no header value"))?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        Ok(headers)
    }
}

/// Whether a URL's host is this machine, by its name alone.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<Resolved, String> {
        let config: Config = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        config.resolve().map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn it_is_checked_at_start() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("secret");
        std::fs::write(&file, "Bearer x\n").unwrap();
        let by_file = format!("file:{}", file.display());
        let good = resolve(&format!("{{endpoint: 'http://localhost:4317', headers: {{authorization: '{by_file}'}}}}"));
        let good = good.map_err(|error| panic!("{error}")).unwrap();
        assert_eq!((good.headers["authorization"].to_str().unwrap(), good.interval.as_secs()), ("Bearer x", 10));
        assert!(resolve("{endpoint: 'http://collector.observability:4317'}").is_ok());
        assert!(resolve(&format!("{{endpoint: 'https://otel.example:4317', ca: '{by_file}'}}")).is_ok());
        for (text, reason) in [
            (String::from("{endpoint: 'localhost:4317'}"), "no http or https URL"),
            (String::from("{endpoint: 'https://otel.example'}"), "needs the authorities"),
            (format!("{{endpoint: 'http://127.0.0.1', ca: '{by_file}'}}"), "use https"),
            (format!("{{endpoint: 'http://10.0.0.1', headers: {{a: '{by_file}'}}}}"), "plain text"),
            (String::from("{endpoint: 'http://[::1]', headers: {a: 'env:ATALAYA_NONE'}}"), "env:ATALAYA_NONE"),
            (String::from("{endpoint: 'http://[::1]', headers: {a: hunter2}}"), "by reference"),
            (String::from("{endpoint: 'http://[::1]', interval_ms: 1}"), "interval_ms: 1"),
            (String::from("{endpoint: 'http://[::1]', traces_ratio: 2}"), "traces_ratio"),
            (String::from("{endpoint: 'http://[::1]', protocol: http}"), "grpc"),
            (String::from("{traces: false}"), "endpoint"),
        ] {
            let error = resolve(&text).err().unwrap_or_default();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
