//! A collector over real journals in a temporary directory, reached through its real socket.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use atalaya_bus::journal::{Journal, Options};
use atalaya_bus::{Bus, ChainCheck, Filter, Message, Stream};
use atalaya_chassis::door::Tls;
use atalaya_chassis::{Shutdown, Trigger};
use atalaya_collector::{Config, Deps, SourceFile};
use atalaya_model::{Counts, Principal, Principals, Quotas, Role};
use atalaya_proto::ingest_v1::ingest_client::IngestClient;
use atalaya_proto::ingest_v1::{ReplayProgress, ReplayRequest};
use atalaya_proto::raw::RawBody;
use atalaya_proto::raw_v1::Entry;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};

pub(crate) const OPERATOR: &str = "operator-secret";
pub(crate) const SENSOR: &str = "sensor-secret";
/// Of another tenant than `SENSOR`.
pub(crate) const OTHER_SENSOR: &str = "other-sensor-secret";
pub(crate) const READER: &str = "reader-secret";

/// The longest a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A file of the shared data.
pub(crate) fn shared(name: &str) -> PathBuf {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).join(name);
    path.canonicalize().unwrap_or_else(|error| panic!("{}: the shared data is needed: {error}", path.display()))
}

/// What does not end with a run.
pub(crate) struct Rig {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) raw_max_bytes: u64,
    pub(crate) spool_max_bytes: u64,
    pub(crate) sources: Vec<SourceFile>,
    pub(crate) tls: Option<Tls>,
    /// Of tenant acme.
    pub(crate) quotas: Quotas,
    pub(crate) quota_hold_ms: u64,
}

/// A run of the collector.
pub(crate) struct Running {
    pub(crate) bus: Arc<Journal>,
    pub(crate) spool: Arc<Journal>,
    pub(crate) address: SocketAddr,
    trigger: Trigger,
    work: JoinHandle<anyhow::Result<()>>,
}

fn principals() -> Arc<Principals> {
    let principal = |name: &str, tenant: &str, role| Principal {
        name: name.to_owned(),
        tenant: tenant.parse().unwrap(),
        roles: vec![role],
    };
    let principals = Principals::default()
        .with_secret(OPERATOR, principal("operator", "default", Role::Operator))
        .with_secret(SENSOR, principal("sensor", "acme", Role::Ingest))
        .with_secret(OTHER_SENSOR, principal("other-sensor", "globex", Role::Ingest))
        .with_secret(READER, principal("reader", "acme", Role::Reader));
    Arc::new(principals)
}

impl Rig {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            directory,
            raw_max_bytes: 1 << 30,
            spool_max_bytes: 1 << 30,
            sources: Vec::new(),
            tls: None,
            quotas: Quotas::default(),
            quota_hold_ms: 30_000,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join("files").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// A followed source of everything that this path means.
    pub(crate) fn follow(&mut self, path: &Path) {
        self.sources.push(SourceFile {
            name: "edge".into(),
            kind: "zeek".into(),
            path: path.display().to_string(),
            tail: true,
            tenant: "shared".into(),
            lateness: None,
            idle_ms: 300_000,
        });
    }

    pub(crate) async fn start(&self) -> Running {
        let open = |name: &str, max_bytes| {
            let options = Options { max_bytes, partitions: 1, ..Options::default() };
            Arc::new(Journal::open(self.directory.path().join(name), &options).unwrap())
        };
        let (bus, spool) = (open("bus", self.raw_max_bytes), open("spool", self.spool_max_bytes));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = Config {
            sources: self.sources.clone(),
            tls: self.tls.clone(),
            tenant_quotas: [("acme".parse().unwrap(), self.quotas)].into(),
            quota_hold_ms: self.quota_hold_ms,
            ..Config::default()
        };
        let deps = Deps {
            bus: Arc::clone(&bus) as Arc<dyn Bus>,
            spool: Arc::clone(&spool),
            principals: principals(),
            listener,
        };
        let (trigger, shutdown) = Shutdown::new();
        let work = tokio::spawn(atalaya_collector::run(config, deps, shutdown));
        Running { bus, spool, address, trigger, work }
    }
}

impl Running {
    /// Drains it.
    pub(crate) async fn stop(mut self) {
        self.trigger.request();
        tokio::time::timeout(PATIENCE, &mut self.work).await.unwrap().unwrap().unwrap();
        self.close().await;
    }

    /// Drops everything where it stands.
    pub(crate) async fn crash(self) {
        self.work.abort();
        let _ = self.work.await;
        drop(self.trigger);
        self.spool.close().await.unwrap();
        self.bus.close().await.unwrap();
    }

    async fn close(&self) {
        self.spool.close().await.unwrap();
        self.bus.close().await.unwrap();
    }

    pub(crate) async fn client(&self) -> IngestClient<Channel> {
        let channel = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        IngestClient::new(channel.connect().await.unwrap())
    }

    /// The last report of a replay.
    pub(crate) async fn replay(&self, paths: &[&Path], secret: &str) -> Result<ReplayProgress, Status> {
        let paths = paths.iter().map(|path| path.display().to_string()).collect();
        let request = ReplayRequest { paths, kind: "zeek".into(), ..ReplayRequest::default() };
        let mut reports = self.client().await.replay(bearing(request, secret)).await?.into_inner();
        let mut last = None;
        while let Some(report) = reports.message().await? {
            last = Some(report);
        }
        let last = last.unwrap();
        assert!(last.done);
        Ok(last)
    }

    /// Received, known and dropped of a replay, and of what RAW then holds of its domain; both must agree.
    pub(crate) async fn replayed(&self, paths: &[&Path]) -> (u64, u64, u64) {
        let report = self.replay(paths, OPERATOR).await.unwrap();
        assert_eq!(report.errors, Vec::<String>::new());
        assert_eq!((report.files_done, report.bytes_done), (report.files, report.bytes));
        let domain = report.domain.clone();
        let counts = self.until(|raw| raw.domain_is_closed(&domain).then(|| raw.counts(&domain))).await;
        assert_eq!(
            (counts.received, counts.known, counts.dropped),
            (report.received, report.known, report.dropped),
            "RAW and the report of {domain}"
        );
        (counts.received, counts.known, counts.dropped)
    }

    /// Everything in RAW.
    pub(crate) async fn raw(&self) -> Raw {
        self.raw_after(0).await
    }

    /// Everything in RAW after a message.
    pub(crate) async fn raw_after(&self, after: u64) -> Raw {
        let filter = Filter::new("raw.>").unwrap();
        let mut reader = self.bus.read(Stream::Raw, &filter, after).await.unwrap();
        let (mut check, mut messages) = (ChainCheck::new(after), Vec::new());
        while let Some(message) = reader.try_next().await.unwrap() {
            check.check(&message).unwrap();
            messages.push((RawBody::decode(&message.body).unwrap(), message));
        }
        Raw(messages)
    }

    /// Waits until RAW is as wanted.
    pub(crate) async fn until<T>(&self, mut wanted: impl FnMut(&Raw) -> Option<T>) -> T {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let raw = self.raw().await;
            if let Some(found) = wanted(&raw) {
                return found;
            }
            assert!(tokio::time::Instant::now() < deadline, "RAW never came to be as wanted: {raw:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A request with a token.
pub(crate) fn bearing<T>(message: T, secret: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = MetadataValue::try_from(format!("Bearer {secret}")).unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

/// RAW, decoded.
pub(crate) struct Raw(pub(crate) Vec<(RawBody, Message)>);

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (body, message) in &self.0 {
            let header = &body.header;
            writeln!(
                f,
                "{} {:?} input {} {}: {} records from line {}, {} known",
                message.headers.id,
                header.entry(),
                header.input,
                header.input_name,
                body.len(),
                header.first_line,
                header.known
            )?;
        }
        Ok(())
    }
}

impl Raw {
    /// Every record's text, in order of RAW.
    pub(crate) fn records(&self) -> Vec<String> {
        let text = |record: &[u8]| String::from_utf8_lossy(record).into_owned();
        self.0.iter().flat_map(|(body, _)| body.records().map(text).collect::<Vec<_>>()).collect()
    }

    /// The same, sorted: order holds within a lane only.
    pub(crate) fn sorted(&self) -> Vec<String> {
        let mut records = self.records();
        records.sort();
        records
    }

    /// What the headers count for a domain.
    pub(crate) fn counts(&self, domain: &str) -> Counts {
        self.0.iter().fold(Counts::default(), |mut sum, (_, message)| {
            sum += message.headers.books.total(|key| key.domain == domain);
            sum
        })
    }

    /// The inputs of a domain, by name, and what was said of each, in order.
    pub(crate) fn inputs(&self, domain: &str) -> Vec<(String, Vec<Entry>)> {
        let mut inputs: Vec<((String, u64), String, Vec<Entry>)> = Vec::new();
        for (body, _) in self.0.iter().filter(|(body, _)| body.header.domain == domain) {
            let header = &body.header;
            let key = (header.collector_lane.clone(), header.input);
            match inputs.iter_mut().find(|(known, ..)| *known == key) {
                Some((.., entries)) => entries.push(header.entry()),
                None => inputs.push((key, header.input_name.clone(), vec![header.entry()])),
            }
        }
        inputs.into_iter().map(|(_, name, entries)| (name, entries)).collect()
    }

    /// Whether all inputs that a backfill announced were opened, and closed.
    pub(crate) fn domain_is_closed(&self, domain: &str) -> bool {
        let announced =
            self.0.iter().find(|(body, _)| body.header.domain == domain && body.header.entry() == Entry::Open);
        let inputs = self.inputs(domain);
        announced.is_some_and(|(body, _)| body.header.domain_inputs as usize == inputs.len())
            && inputs
                .iter()
                .all(|(_, entries)| entries.first() == Some(&Entry::Open) && entries.last() == Some(&Entry::Close))
    }
}
