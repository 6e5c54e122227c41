//! What the collector is told: section `collector` of `atalaya.yaml`, and the files in `sources/`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, ensure};
use atalaya_bus::nats::Options as NatsOptions;
use atalaya_chassis::config::Directory;
use atalaya_chassis::door;
use atalaya_model::{Principals, Quotas, SHARED, SourceName, Tenant, TenantFile, parse_span};
use serde::Deserialize;

use crate::sources;
use crate::spool::MAX_LANES;

/// The longest a message may wait for more records, milliseconds.
const MAX_LINGER_MS: u64 = 1_000;

/// The smallest spool: room for what all lanes may hold at once, bytes.
const MIN_SPOOL_BYTES: u64 = 64 << 20;

/// The longest that a batch may be held, milliseconds: senders and what lies between give up sooner or later.
const MAX_QUOTA_HOLD_MS: u64 = 600_000;

/// Section `collector` of `atalaya.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of this collector: lanes are called after it. Never two with one name.
    pub id: String,
    /// Lanes, each with a writer of its own.
    pub lanes: usize,
    /// How long a message waits for more records, milliseconds.
    pub linger_ms: u64,
    /// Directory of the spool.
    pub spool: PathBuf,
    /// Bytes the spool may hold; then the sources wait.
    pub spool_max_bytes: u64,
    /// Address of the ingest door (gRPC); beyond loopback it needs `tls`.
    pub listen: String,
    /// Certificate and key of the ingest door.
    pub tls: Option<door::Tls>,
    /// How much a tenant may push here whose file does not say otherwise; no limit if not given.
    pub quotas: Quotas,
    /// How long a batch beyond its tenant's quota is held, with the stream behind it, before it is refused,
    /// milliseconds.
    pub quota_hold_ms: u64,
    /// What the tenants' files say of their quotas.
    #[serde(skip)]
    pub tenant_quotas: BTreeMap<Tenant, Quotas>,
    /// URL of the bus; set from the section of that name.
    #[serde(skip)]
    pub bus: String,
    /// How NATS is reached; set from the section `nats`.
    #[serde(skip)]
    pub nats: NatsOptions,
    /// The files in `sources/`.
    #[serde(skip)]
    pub sources: Vec<SourceFile>,
    /// Who may push: the tokens of the tenants' files.
    #[serde(skip)]
    pub principals: Arc<Principals>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            id: "c1".to_owned(),
            lanes: 4,
            linger_ms: 1,
            spool: PathBuf::from("atalaya-data/spool"),
            spool_max_bytes: 4 << 30,
            listen: "127.0.0.1:7410".to_owned(),
            tls: None,
            quotas: Quotas::default(),
            quota_hold_ms: 30_000,
            tenant_quotas: BTreeMap::new(),
            bus: String::new(),
            nats: NatsOptions::default(),
            sources: Vec::new(),
            principals: Arc::default(),
        }
    }
}

/// `sources/NAME.yaml`: a source that is read from here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// The source's name in the ledger; the file's name if not given.
    #[serde(default)]
    pub name: String,
    /// Format of the records: `zeek`, `json_lines` or `ocsf`.
    pub kind: String,
    /// A file, a glob, or a directory with everything below it.
    pub path: String,
    /// Whether files are followed: growth, rotation and truncation. Else they are read once, as a backfill.
    #[serde(default)]
    pub tail: bool,
    /// Whose records they are; `shared` if many tenants': then the owner of an address or a name is.
    #[serde(default = "shared")]
    pub tenant: String,
    /// How much later than newer records an old one may come: a span such as `15m`. The kind's own if not given.
    #[serde(default)]
    pub lateness: Option<String>,
    /// How long a followed file may be silent before its input is closed, milliseconds; it is opened again when it
    /// grows.
    #[serde(default = "idle_ms")]
    pub idle_ms: u64,
}

fn shared() -> String {
    SHARED.to_owned()
}

fn idle_ms() -> u64 {
    300_000
}

/// A source's name; `mark` is taken by the bus.
pub(crate) fn source_name(name: &str) -> Result<SourceName, String> {
    if name == "mark" { Err("source name: 'mark' is reserved".to_owned()) } else { name.parse() }
}

impl SourceFile {
    pub(crate) fn source_name(&self) -> Result<SourceName, String> {
        source_name(&self.name)
    }

    pub(crate) fn lateness_us(&self) -> Result<Option<i64>, String> {
        self.lateness.as_deref().map(parse_span).transpose().map_err(|error| format!("lateness: {error}"))
    }

    fn validate(&self) -> Result<(), String> {
        self.source_name().map_err(|error| format!("name: {error}"))?;
        sources::format(&self.kind).map_err(|error| format!("kind: {error}"))?;
        self.lateness_us()?;
        if self.path.is_empty() {
            return Err("path: a file, a glob or a directory is needed".to_owned());
        }
        if self.tenant != SHARED {
            self.tenant.parse::<Tenant>().map_err(|error| format!("tenant: {error}"))?;
        }
        Ok(())
    }
}

impl Config {
    /// Reads the section, the sources' and the tenants' files.
    ///
    /// # Errors
    /// If one of them is wrong; the error names file and line.
    pub fn read(directory: &Directory) -> anyhow::Result<Self> {
        let mut config: Self = directory.section("collector")?;
        config.bus = directory.section("bus")?;
        config.nats = directory.section("nats")?;
        for file in directory.sources() {
            let mut source: SourceFile = file.parse()?;
            if source.name.is_empty() {
                file.stem().clone_into(&mut source.name);
            }
            source.validate().map_err(|error| anyhow::anyhow!("{}: {error}", file.path.display()))?;
            config.sources.push(source);
        }
        let mut tokens = Vec::new();
        for file in directory.tenants() {
            let tenant: Tenant = file.stem().parse().with_context(|| file.path.display().to_string())?;
            let parsed: TenantFile = file.parse()?;
            config.tenant_quotas.insert(tenant.clone(), parsed.quotas);
            tokens.extend(parsed.tokens.into_iter().map(|token| (tenant.clone(), token)));
        }
        config.principals = Arc::new(Principals::from_tokens(tokens.iter().map(|(tenant, token)| (tenant, token)))?);
        config.validate()?;
        Ok(config)
    }

    /// How the ingest door opens: with TLS, or plain on loopback.
    ///
    /// # Errors
    /// If it may not open so, or a file of `tls` is wrong.
    pub fn door(&self) -> anyhow::Result<Option<door::Pem>> {
        door::open("collector", &self.listen, self.tls.as_ref(), !self.principals.is_empty())
    }

    /// Checks what the shape alone cannot.
    ///
    /// # Errors
    /// If a value is out of its range, two sources share a name, or the door may not open so.
    pub fn validate(&self) -> anyhow::Result<()> {
        self.door()?;
        let lane: Result<atalaya_model::LaneId, _> = format!("{}-{}", self.id, MAX_LANES - 1).parse();
        ensure!(lane.is_ok(), "collector.id: '{}' must be letters, digits, '-' and '_', and short", self.id);
        ensure!((1..=MAX_LANES).contains(&self.lanes), "collector.lanes: {} is not 1 to {MAX_LANES}", self.lanes);
        ensure!(
            self.linger_ms <= MAX_LINGER_MS,
            "collector.linger_ms: {} is more than {MAX_LINGER_MS}",
            self.linger_ms
        );
        ensure!(
            self.spool_max_bytes >= MIN_SPOOL_BYTES,
            "collector.spool_max_bytes: {} is less than {MIN_SPOOL_BYTES}",
            self.spool_max_bytes
        );
        ensure!(
            (1..=MAX_QUOTA_HOLD_MS).contains(&self.quota_hold_ms),
            "collector.quota_hold_ms: {} is not 1 to {MAX_QUOTA_HOLD_MS}",
            self.quota_hold_ms
        );
        for (at, source) in self.sources.iter().enumerate() {
            source.validate().map_err(|error| anyhow::anyhow!("source '{}': {error}", source.name))?;
            ensure!(
                !self.sources[..at].iter().any(|other| other.name == source.name),
                "source '{}': another source has the same name",
                source.name
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> SourceFile {
        SourceFile {
            name: "zeek".into(),
            kind: "zeek".into(),
            path: "/logs".into(),
            tail: true,
            tenant: "acme".into(),
            lateness: Some("15m".into()),
            idle_ms: 1_000,
        }
    }

    #[test]
    fn a_source_is_checked() {
        assert_eq!(source().validate(), Ok(()));
        let wrong: [fn(&mut SourceFile); 6] = [
            |source| source.name = "a b".into(),
            |source| source.name = "mark".into(),
            |source| source.kind = "zeke".into(),
            |source| source.path = String::new(),
            |source| source.tenant = "No One".into(),
            |source| source.lateness = Some("soon".into()),
        ];
        for change in wrong {
            let mut source = source();
            change(&mut source);
            assert!(source.validate().is_err(), "{source:?}");
        }
    }

    #[test]
    fn a_directory_is_read_whole() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let section = "collector: {lanes: 2, quotas: {bytes: {per_s: 1000}}, quota_hold_ms: 500}\n";
        write("atalaya.yaml", &format!("bus: file:bus\n{section}"));
        write("sources/edge.yaml", "kind: zeek\npath: /logs/*.log\ntail: true\n");
        let hash = atalaya_model::sha256_hex("s3cret");
        let tokens = format!("tokens: [{{name: sensor, sha256: {hash}, roles: [ingest]}}]\n");
        write("tenants/acme.yaml", &format!("quotas: {{records: {{per_s: 7, burst: 9}}}}\n{tokens}"));
        let read = || Config::read(&Directory::load(Some(directory.path())).unwrap());
        let config = read().unwrap();
        assert_eq!((config.lanes, config.bus.as_str(), config.sources[0].name.as_str()), (2, "file:bus", "edge"));
        assert_eq!(config.sources[0].tenant, "shared");
        assert!(config.principals.authenticate(Some("Bearer s3cret")).is_some());
        let acme = config.tenant_quotas["acme"].or(config.quotas);
        let rates = [acme.records, acme.bytes].map(|rate| rate.map(|rate| (rate.per_s.get(), rate.burst().get())));
        assert_eq!((rates, config.quota_hold_ms), ([Some((7, 9)), Some((1_000, 1_000))], 500));
        write("tenants/globex.yaml", "quotas: {records: {per_s: 0}}\n");
        let error = read().unwrap_err().to_string();
        assert!(error.contains("globex.yaml"), "{error}");
        std::fs::remove_file(directory.path().join("tenants/globex.yaml")).unwrap();
        write("sources/edge.yml", "kind: zeek\npath: /logs\n");
        assert!(read().unwrap_err().to_string().contains("same name"));
        write("sources/edge.yml", "kind: zeek\npaht: /logs\n");
        assert!(read().unwrap_err().to_string().contains("did you mean 'path'"));
    }
}
