//! A journal, an embedded hot store and an archive in a directory of their own, and a gateway over them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_archive::{Archive, Covered, Feed, Scope, StoredBatch};
use atalaya_bus::{
    Bus, FencedWriter, Floor, Floors, Headers, Kind, OutputLane, Part, Position, Sequence, Stream, Subject,
};
use atalaya_chassis::{Shutdown, Trigger};
use atalaya_hot::{FiledMessage, Hot};
use atalaya_model::{
    Alert, AlertId, AlertState, Books, Class, Counts, EventId, LedgerKey, Level, Principal, Principals, Role,
};
use atalaya_proto::alert_v1::Alerts;
use atalaya_query_gateway::{Config, Deps};
use atalaya_schema::{EventBatch, MAX_BODY_BYTES, MAX_ROWS_PER_MESSAGE, Rows, col};
use prost::Message;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// When the events happened.
pub(crate) const NOON_US: i64 = 1_710_763_200_000_000;
const PARTITION: u16 = 3;
const PATIENCE: Duration = Duration::from_secs(60);

/// Puts a token, and a tenant to act for, into every call.
#[derive(Clone)]
pub(crate) struct Token(Vec<(&'static str, MetadataValue<Ascii>)>);

impl Token {
    pub(crate) fn of(secret: &str) -> Self {
        Self(vec![("authorization", format!("Bearer {secret}").parse().unwrap())])
    }

    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn acting_for(mut self, tenant: &str) -> Self {
        self.0.push(("atalaya-tenant", tenant.parse().unwrap()));
        self
    }
}

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        for (name, value) in &self.0 {
            request.metadata_mut().insert(*name, value.clone());
        }
        Ok(request)
    }
}

pub(crate) type Door = InterceptedService<Channel, Token>;

pub(crate) struct World {
    _place: tempfile::TempDir,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) hot: Arc<dyn Hot>,
    pub(crate) archive: Archive,
}

/// A gateway that runs.
pub(crate) struct Running {
    trigger: Trigger,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
    pub(crate) channel: Channel,
}

impl Running {
    pub(crate) fn as_acme(&self) -> Door {
        self.with(Token::of("acme-secret"))
    }

    pub(crate) fn as_globex(&self) -> Door {
        self.with(Token::of("globex-secret"))
    }

    pub(crate) fn as_operator(&self) -> Door {
        self.with(Token::of("operator-secret"))
    }

    pub(crate) fn with(&self, token: Token) -> Door {
        InterceptedService::new(self.channel.clone(), token)
    }

    pub(crate) async fn drain(self) {
        self.trigger.request();
        self.task.await.unwrap().unwrap();
    }

    /// Ends it without a word.
    pub(crate) async fn kill(self, world: &World) {
        self.task.abort();
        let _ = self.task.await;
        world.bus.bucket("leases").await.unwrap().delete("ledger").await.unwrap();
    }
}

fn principals() -> Principals {
    let principal = |tenant: &str, roles: &[Role]| Principal {
        name: format!("{tenant}'s"),
        tenant: tenant.parse().unwrap(),
        roles: roles.to_vec(),
    };
    Principals::default()
        .with_secret("acme-secret", principal("acme", &[Role::Reader]))
        .with_secret("globex-secret", principal("globex", &[Role::Reader]))
        .with_secret("pusher-secret", principal("acme", &[Role::Ingest]))
        .with_secret("operator-secret", principal("default", &[Role::Operator]))
}

impl World {
    pub(crate) async fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let url = |name: &str| format!("file:{}", place.path().join(name).display());
        let bus = atalaya_bus::open(&url("bus")).await.unwrap();
        let hot = atalaya_hot::open(&url("hot")).await.unwrap();
        let archive = atalaya_archive::open(&url("archive")).await.unwrap();
        Self { _place: place, bus, hot, archive }
    }

    pub(crate) async fn start(&self) -> Running {
        self.start_with(Config::default()).await
    }

    pub(crate) async fn start_with(&self, config: Config) -> Running {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let deps = Deps {
            bus: Arc::clone(&self.bus),
            hot: Arc::clone(&self.hot),
            archive: self.archive.clone(),
            principals: Arc::new(principals()),
            listener,
        };
        let (trigger, shutdown) = Shutdown::new();
        let task = tokio::spawn(atalaya_query_gateway::run(config, deps, shutdown));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Running { trigger, task, channel }
    }

    /// Files DNS events of tenants in the hot store and appends them to the archive, as one EVT message.
    pub(crate) async fn file_events(&self, sequence: u64, events: &[(&str, &str, i64)]) {
        let batch = dns(sequence, events);
        let incarnation = self.bus.info(Stream::Evt).await.unwrap().incarnation;
        for (batch, body) in batch.split(MAX_ROWS_PER_MESSAGE, MAX_BODY_BYTES).unwrap() {
            let batch = Arc::new(batch);
            let message = FiledMessage {
                partition: PARTITION,
                sequence,
                id: format!("c1-0.1.{sequence}/3/dns_activity/0"),
                raw_id: format!("c1-0.1.{sequence}"),
                received_time_us: NOON_US,
                body,
                batch: Arc::clone(&batch),
            };
            self.hot.file(&[message]).await.unwrap();
            self.hot.sync().await.unwrap();
            let scope = Scope { feed: Feed::Evt, incarnation, partition: PARTITION };
            let stored = StoredBatch { scope, sequence, events: batch };
            self.archive.append(Class::DnsActivity, &[stored], &[Covered { scope, sequence }]).await.unwrap();
        }
    }

    pub(crate) async fn floor(&self, stream: Stream, reader: &str, sequence: Sequence, books: Books) {
        let incarnation = self.bus.info(stream).await.unwrap().incarnation;
        let floors = Floors::open(self.bus.as_ref()).await.unwrap();
        let mut entry = floors.hold(stream, reader, &PARTITION.to_string()).await.unwrap();
        let position = Position { incarnation, sequence, id: String::new() };
        entry.set(Floor { position, books }).await.unwrap();
    }
}

/// DNS events: tenant, source address, and time in seconds after noon.
fn dns(sequence: u64, events: &[(&str, &str, i64)]) -> EventBatch {
    let mut rows = Rows::new(Class::DnsActivity);
    for (at, (tenant, ip, second)) in events.iter().enumerate() {
        rows.begin();
        rows.id(col::EVENT_ID, EventId::of("test", &[&sequence.to_le_bytes(), &at.to_le_bytes()]).as_bytes());
        rows.text(col::TENANT, tenant);
        rows.time(col::TIME, NOON_US + second * 1_000_000);
        rows.int32(col::CLASS_UID, Class::DnsActivity.uid());
        rows.text(col::dns::SRC_IP, ip);
        rows.text(col::dns::QUERY, "www.example.com");
        rows.end();
    }
    EventBatch::new(Class::DnsActivity, rows.finish()).unwrap()
}

pub(crate) fn key(source: &str, tenant: &str, domain: &str) -> LedgerKey {
    LedgerKey { source: source.into(), tenant: tenant.into(), domain: domain.into() }
}

pub(crate) fn books(key: &LedgerKey, counts: Counts) -> Books {
    let mut books = Books::default();
    books.add(key, counts);
    books
}

/// What a stage writes.
pub(crate) struct Stage {
    writer: FencedWriter,
    covered: u64,
}

impl Stage {
    pub(crate) async fn new(world: &World, lane: OutputLane) -> Self {
        let writer = FencedWriter::resume(Arc::clone(&world.bus), lane).await.unwrap();
        Self { writer, covered: 0 }
    }

    /// Writes a message that covers the next position, or the one that is given; answers with its sequence.
    pub(crate) async fn write(
        &mut self,
        subject: &str,
        covers: Option<u64>,
        headers: Headers,
        body: Vec<u8>,
    ) -> Sequence {
        self.covered = covers.unwrap_or(self.covered + 1);
        let position = Position { incarnation: 1, sequence: self.covered, id: String::new() };
        let headers = Headers { id: format!("{subject}.{}", self.covered), ..headers };
        let part = Part { subject: Subject::new(subject).unwrap(), headers, body: body.into(), decoded: None };
        self.writer.write(position, vec![part], Books::default()).await.unwrap();
        self.writer.last()
    }

    pub(crate) async fn alerts(&mut self, covers: Option<u64>, domain: &str, alerts: &[Alert]) -> Sequence {
        let opened = alerts.iter().filter(|alert| alert.state == AlertState::Opened).count() as u64;
        let tenant = alerts.first().map_or("acme", |alert| alert.tenant.as_str());
        let counts = Counts { alerts: opened, ..Counts::default() };
        let headers = Headers { books: books(&key("alerts", tenant, domain), counts), ..Headers::default() };
        let body = Alerts { alerts: alerts.iter().map(Into::into).collect() }.encode_to_vec();
        self.write(&format!("alert.{PARTITION}"), covers, headers, body).await
    }

    pub(crate) async fn mark(&mut self, subject: &str, covers: u64) -> Sequence {
        self.write(subject, Some(covers), Headers { kind: Kind::Mark, ..Headers::default() }, Vec::new()).await
    }
}

pub(crate) fn alert(number: u64, tenant: &str, domain: &str) -> Alert {
    Alert {
        id: AlertId::of("test", &[tenant.as_bytes(), &number.to_le_bytes()]),
        version: 1,
        state: AlertState::Opened,
        tenant: tenant.parse().unwrap(),
        domain: domain.into(),
        rule_id: "scan".into(),
        rule_rev: "1".into(),
        rule_author: "us".into(),
        title: "Port scan".into(),
        level: Level::High,
        group_key: "src_ip=10.0.0.1".into(),
        entities: vec![("src_ip".into(), "10.0.0.1".into())],
        time_us: NOON_US + i64::try_from(number).unwrap(),
        window_start_us: NOON_US,
        window_end_us: NOON_US,
        received_time_us: NOON_US,
        event_count: 1,
        evidence: Vec::new(),
        attack_ids: vec!["T1046".into()],
        observed: 120.0,
        threshold: 30.0,
        message: "a scan".into(),
        retroactive: false,
    }
}

pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let begun = Instant::now();
    while !check().await {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
