//! A journal, a correlator's writer and the notifier.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atalaya_alert_notifier::{Config, Deps};
use atalaya_bus::journal::{Journal, Options};
use atalaya_bus::{Bucket, Bus, FencedWriter, Floor, Floors, Headers, OutputLane, Part, Position, Stream, Subject};
use atalaya_chassis::{Shutdown, Trigger};
use atalaya_model::{Alert, AlertId, AlertState, Books, Counts, EventId, LedgerKey, Level, Receiver, Route, SecretRef};
use atalaya_proto::alert_v1::Alerts;
use atalaya_testkit::{FaultBus, Life};
use prost::Message;
use tokio::sync::Mutex as AsyncMutex;

pub(crate) const SECRET: &str = "s3cret";
pub(crate) const MAX_ATTEMPTS: u32 = 4;
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1_500);
const PARTITION: u16 = 0;
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct Stage {
    place: tempfile::TempDir,
    bus: Arc<dyn Bus>,
    writer: AsyncMutex<FencedWriter>,
    screen: Screen,
    /// Attempts at a message before it is given up.
    max_attempts: u32,
}

#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(crate) struct Running {
    trigger: Trigger,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
    bus: Arc<dyn Bus>,
}

/// A notifier in a life of its own.
pub(crate) struct Living {
    pub(crate) life: Arc<Life>,
    task: tokio::task::JoinHandle<Option<anyhow::Result<()>>>,
}

impl Living {
    /// Ends it in the middle of whatever it does.
    pub(crate) async fn crash(self) {
        self.life.crash();
        assert!(self.task.await.unwrap().is_none(), "it ended by itself");
    }
}

impl Running {
    pub(crate) async fn drain(self) {
        self.trigger.request();
        self.task.await.unwrap().unwrap();
    }

    /// Ends it without a word; what remains of its lease runs out.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
        break_lease(self.bus.as_ref()).await;
    }
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let bus = atalaya_bus::open(&format!("file:{}", place.path().join("bus").display())).await.unwrap();
        Self::over(place, bus).await
    }

    /// Gives no message up, however often chance has it refused.
    pub(crate) fn patient(self) -> Self {
        Self { max_attempts: u32::MAX, ..self }
    }

    /// With a journal of one partition that a kill is safe for, and a power cut is not. No message is given up.
    pub(crate) async fn small() -> Self {
        let place = tempfile::tempdir().unwrap();
        let options = Options { partitions: 1, sync: false, ..Options::default() };
        let bus = Journal::open(place.path().join("bus"), &options).unwrap();
        Self::over(place, Arc::new(bus)).await.patient()
    }

    pub(crate) async fn over(place: tempfile::TempDir, bus: Arc<dyn Bus>) -> Self {
        atalaya_chassis::install_tls_provider();
        std::fs::write(place.path().join("key"), SECRET).unwrap();
        let writer = FencedWriter::resume(Arc::clone(&bus), OutputLane::alert(PARTITION)).await.unwrap();
        Self { place, bus, writer: AsyncMutex::new(writer), screen: Screen::default(), max_attempts: MAX_ATTEMPTS }
    }

    pub(crate) fn start(&self, routes: Vec<Route>) -> Running {
        let (trigger, shutdown) = Shutdown::new();
        let (config, deps) = (self.config(routes), self.deps(Arc::clone(&self.bus)));
        let task = tokio::spawn(atalaya_alert_notifier::run(config, deps, shutdown));
        Running { trigger, task, bus: Arc::clone(&self.bus) }
    }

    /// Starts a notifier for which all goes wrong that the life says.
    pub(crate) fn live(&self, routes: Vec<Route>, life: Arc<Life>) -> Living {
        let (trigger, shutdown) = Shutdown::new();
        let config = self.config(routes);
        let deps = self.deps(FaultBus::new(Arc::clone(&self.bus), Arc::clone(&life)));
        let living = Arc::clone(&life);
        let task = tokio::spawn(async move {
            let _undrained = trigger;
            living.run(atalaya_alert_notifier::run(config, deps, shutdown)).await
        });
        Living { life, task }
    }

    fn config(&self, routes: Vec<Route>) -> Config {
        Config {
            tenants: HashMap::from([("acme".parse().unwrap(), routes)]),
            max_attempts: self.max_attempts,
            retry_base_ms: 20,
            retry_cap_ms: 50,
            attempt_timeout_ms: ATTEMPT_TIMEOUT.as_millis() as u64,
            lease_ms: 600.try_into().unwrap(),
            ..Config::default()
        }
    }

    fn deps(&self, bus: Arc<dyn Bus>) -> Deps {
        Deps { bus, stdout: Box::new(self.screen.clone()) }
    }

    /// Lets the next notifier begin, whether the last one is gone or not.
    pub(crate) async fn break_lease(&self) {
        break_lease(self.bus.as_ref()).await;
    }

    pub(crate) async fn outbox(&self) -> Arc<dyn Bucket> {
        self.bus.bucket("outbox").await.unwrap()
    }

    /// Writes alerts as the output of an EVT position.
    pub(crate) async fn publish(&self, position: u64, alerts: &[Alert]) {
        let opened = alerts.iter().filter(|alert| alert.state == AlertState::Opened).count() as u64;
        let mut books = Books::default();
        let key = LedgerKey { source: "alerts".into(), tenant: "acme".into(), domain: "live".into() };
        books.add(&key, Counts { alerts: opened, ..Counts::default() });
        let part = Part {
            subject: Subject::new(&format!("alert.{PARTITION}")).unwrap(),
            headers: Headers { id: format!("alerts.{position}"), books, ..Headers::default() },
            body: Alerts { alerts: alerts.iter().map(Into::into).collect() }.encode_to_vec().into(),
            decoded: None,
        };
        let covers = Position { incarnation: 1, sequence: position, id: format!("evt.{position}") };
        self.writer.lock().await.write(covers, vec![part], Books::default()).await.unwrap();
    }

    pub(crate) async fn silence(&self, key: &str, value: &str) {
        let silences = self.bus.bucket("silences").await.unwrap();
        silences.put(key, value.to_owned().into(), 0, None).await.unwrap();
    }

    /// The test's own directory, gone with it.
    pub(crate) fn place(&self) -> &std::path::Path {
        self.place.path()
    }

    pub(crate) fn screen(&self) -> String {
        String::from_utf8(self.screen.0.lock().unwrap().clone()).unwrap()
    }

    /// Waits until the floor counts this, and covers everything that was written.
    pub(crate) async fn settled(&self, expected: Counts) {
        let last = self.writer.lock().await.last();
        eventually_found(&format!("{expected:?}"), || async {
            let Floor { position, books } = self.floor().await;
            let counted = books.total(|key| key.source == "alerts");
            let is_settled = position.sequence == last && counted == expected;
            is_settled.then_some(()).ok_or_else(|| format!("{} of {last}, {counted:?}", position.sequence))
        })
        .await;
    }

    /// What the notifier tells others.
    pub(crate) async fn floor(&self) -> Floor {
        let floors = Floors::open(self.bus.as_ref()).await.unwrap();
        let all = floors.all(Stream::Alert).await.unwrap();
        let mut own =
            all.into_iter().filter(|(reader, scope, _)| reader == "notifier" && *scope == PARTITION.to_string());
        own.next().map(|(_, _, floor)| floor).unwrap_or_default()
    }
}

async fn break_lease(bus: &dyn Bus) {
    let leases = bus.bucket("leases").await.unwrap();
    for entry in leases.list("").await.unwrap() {
        leases.delete(&entry.key).await.unwrap();
    }
}

pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, check: impl Fn() -> F) {
    eventually_found(what, || {
        let check = check();
        async { check.await.then_some(()).ok_or_else(|| "not there".to_owned()) }
    })
    .await;
}

/// Waits until a check passes; what it found instead is said when patience is over.
async fn eventually_found<F: Future<Output = Result<(), String>>>(what: &str, check: impl Fn() -> F) {
    let begun = std::time::Instant::now();
    while let Err(found) = check().await {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}: {found}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn screen() -> Receiver {
    Receiver::Stdout {}
}

pub(crate) fn hook(receiver: &super::receiver::Receiver, stage: &Stage) -> Receiver {
    let url = format!("http://{}/hook", receiver.address);
    Receiver::Webhook { url, secret: SecretRef::File(stage.place.path().join("key")) }
}

pub(crate) fn route(name: &str, receiver: Receiver) -> Route {
    Route {
        name: name.into(),
        min_level: Level::Informational,
        rules: Vec::new(),
        group_wait: "0s".into(),
        repeat_interval: "1h".into(),
        receiver,
    }
}

pub(crate) fn alert(number: u64, ip: &str, state: AlertState) -> Alert {
    Alert {
        id: AlertId::of("test", &[&number.to_le_bytes()]),
        version: if state == AlertState::Opened { 1 } else { 2 },
        state,
        tenant: "acme".parse().unwrap(),
        domain: "live".into(),
        rule_id: "scan".into(),
        rule_rev: "1".into(),
        rule_author: "us".into(),
        title: "Port scan".into(),
        level: Level::High,
        group_key: format!("src_ip={ip}"),
        entities: vec![("src_ip".into(), ip.into())],
        time_us: 3_723_000_000,
        window_start_us: 0,
        window_end_us: 0,
        received_time_us: 0,
        event_count: 1,
        evidence: vec![EventId::of("test", &[])],
        attack_ids: Vec::new(),
        observed: 120.0,
        threshold: 30.0,
        message: format!("scan of src_ip={ip}"),
        retroactive: false,
    }
}
