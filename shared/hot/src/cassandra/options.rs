//! How a hot store on Cassandra is reached and kept: the section `cassandra` of `atalaya.yaml`, and its URL.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use atalaya_model::{SecretRef, parse_span};
use scylla::statement::Consistency;
use serde::Deserialize;

use crate::HotError;

/// The port of the native protocol where a URL names none.
const DEFAULT_PORT: u16 = 9042;

/// Cassandra's own limit of a keyspace's name, bytes.
const MAX_KEYSPACE_BYTES: usize = 48;

/// Cassandra refuses a time to live of more than 20 years; tables that name others' rows live a little longer.
const MAX_RETENTION_US: i64 = 19 * 365 * 86_400 * 1_000_000;

/// Shorter retention would make time windows of less than an hour.
const MIN_RETENTION_US: i64 = 3_600 * 1_000_000;

const MAX_CONNECTIONS: usize = 16;
const MAX_IN_FLIGHT: usize = 2_048;
const MAX_PAGE_ROWS: i32 = 10_000;

/// Larger partitions hold a node up.
const MAX_SHARD_BYTES: u64 = 100 << 20;

/// How many replicas have to answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answers {
    /// One.
    One,
    /// One of the local datacenter.
    LocalOne,
    /// More than half.
    Quorum,
    /// More than half of the local datacenter's.
    #[default]
    LocalQuorum,
}

impl From<Answers> for Consistency {
    fn from(answers: Answers) -> Self {
        match answers {
            Answers::One => Self::One,
            Answers::LocalOne => Self::LocalOne,
            Answers::Quorum => Self::Quorum,
            Answers::LocalQuorum => Self::LocalQuorum,
        }
    }
}

/// TLS to the nodes; their certificates have to name the addresses they are reached at.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificates of the authorities that sign the nodes', PEM.
    pub ca: PathBuf,
    /// This client's certificate chain, PEM, where the nodes ask for one.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(default)]
    pub key: Option<PathBuf>,
}

/// Section `cassandra` of `atalaya.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// How long rows are kept after they were received, a span such as `90d`; for ever if null.
    pub retention: Option<String>,
    /// Replicas of each row in every datacenter, where `datacenters` names none.
    pub replication_factor: u8,
    /// Replicas by datacenter.
    pub datacenters: BTreeMap<String, u8>,
    /// The datacenter to talk to; any if null.
    pub datacenter: Option<String>,
    /// Replicas that have to answer a read or a write.
    pub consistency: Answers,
    /// Connections to a node.
    pub connections_per_node: usize,
    /// Requests under way, times the number of nodes; fewer while the nodes are overloaded.
    pub in_flight_per_node: usize,
    /// Whether frames are compressed (LZ4); bodies are already.
    pub compression: bool,
    /// How long a request may take, milliseconds.
    pub request_timeout_ms: u64,
    /// Rows of a page that the nodes send at once.
    pub page_rows: i32,
    /// Bytes of a partition at which a busy entity's next one begins.
    pub shard_bytes: u64,
    /// After how long a read is asked of another node as well, milliseconds; never if 0.
    pub speculative_after_ms: u64,
    /// The user, by reference.
    pub user: Option<SecretRef>,
    /// Its password, by reference.
    pub password: Option<SecretRef>,
    /// TLS; plain text without.
    pub tls: Option<Tls>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retention: Some("90d".to_owned()),
            replication_factor: 3,
            datacenters: BTreeMap::new(),
            datacenter: None,
            consistency: Answers::default(),
            connections_per_node: 2,
            in_flight_per_node: 64,
            compression: false,
            request_timeout_ms: 5_000,
            page_rows: 1_000,
            shard_bytes: 16 << 20,
            speculative_after_ms: 200,
            user: None,
            password: None,
            tls: None,
        }
    }
}

impl Options {
    /// Checks the values.
    ///
    /// # Errors
    /// The key that is wrong, and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        self.retention_us()?;
        let within = |key: &str, value: u64, most: u64| {
            let right = (1..=most).contains(&value);
            if right { Ok(()) } else { Err(format!("cassandra.{key}: {value} is not 1 to {most}")) }
        };
        within("replication_factor", self.replication_factor.into(), u8::MAX.into())?;
        within("connections_per_node", self.connections_per_node as u64, MAX_CONNECTIONS as u64)?;
        within("in_flight_per_node", self.in_flight_per_node as u64, MAX_IN_FLIGHT as u64)?;
        within("request_timeout_ms", self.request_timeout_ms, 600_000)?;
        within("shard_bytes", self.shard_bytes, MAX_SHARD_BYTES)?;
        within("page_rows", self.page_rows.try_into().unwrap_or(0), MAX_PAGE_ROWS.unsigned_abs().into())?;
        if let Some(name) = self.datacenters.keys().find(|name| !is_plain(name)) {
            return Err(format!("cassandra.datacenters: '{name}' is no name of a datacenter"));
        }
        if self.user.is_some() != self.password.is_some() {
            return Err("cassandra.user and cassandra.password go together".to_owned());
        }
        if self.tls.as_ref().is_some_and(|tls| tls.certificate.is_some() != tls.key.is_some()) {
            return Err("cassandra.tls.certificate and cassandra.tls.key go together".to_owned());
        }
        Ok(())
    }

    /// Retention in microseconds; none for ever.
    pub(super) fn retention_us(&self) -> Result<Option<i64>, String> {
        let Some(span) = &self.retention else { return Ok(None) };
        let span_us = parse_span(span).map_err(|error| format!("cassandra.retention: {error}"))?;
        if (MIN_RETENTION_US..=MAX_RETENTION_US).contains(&span_us) {
            return Ok(Some(span_us));
        }
        Err(format!("cassandra.retention: {span} is not one hour to 19 years; null keeps rows for ever"))
    }

    pub(super) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// Where a store is: `cassandra://HOST:PORT[,HOST:PORT]/KEYSPACE[?retention=90d]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Some of the nodes, `HOST:PORT`.
    pub(crate) nodes: Vec<String>,
    /// The keyspace.
    pub(crate) keyspace: String,
    /// Overrides [`Options::retention`].
    pub(crate) retention: Option<String>,
}

impl Target {
    /// Reads a URL.
    pub(crate) fn parse(url: &str) -> Result<Self, HotError> {
        Self::read(url).ok_or_else(|| HotError::Url(url.to_owned()))
    }

    fn read(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("cassandra://")?;
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, keyspace) = rest.split_once('/')?;
        let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let named = keyspace.starts_with(|first: char| first.is_ascii_lowercase())
            && keyspace.len() <= MAX_KEYSPACE_BYTES
            && keyspace.bytes().all(letters);
        let nodes: Option<Vec<_>> = hosts.split(',').map(node).collect();
        let retention = match parameters {
            "" => None,
            parameters => Some(parameters.strip_prefix("retention=")?).filter(|span| parse_span(span).is_ok()),
        };
        if !named || (retention.is_none() && !parameters.is_empty()) {
            return None;
        }
        Some(Self { nodes: nodes?, keyspace: keyspace.to_owned(), retention: retention.map(str::to_owned) })
    }
}

fn node(host: &str) -> Option<String> {
    let bare = host.rsplit_once(':').map_or((host, Some(DEFAULT_PORT)), |(name, port)| (name, port.parse().ok()));
    let (name, port) = if host.ends_with(']') { (host, Some(DEFAULT_PORT)) } else { bare };
    let plain = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let valid = is_plain(name) || (plain.len() < name.len() && plain.parse::<std::net::Ipv6Addr>().is_ok());
    if valid { Some(format!("{name}:{}", port?)) } else { None }
}

#[cfg(test)]
mod tests;
