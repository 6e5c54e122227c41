//! A journal, a state store on disk, and the service in a task.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_bus::journal::Options;
use atalaya_bus::{
    Bus, FencedWriter, Filter, Headers, Kind, LeaseMs, Message, OutputLane, Part, Position, Stream, Subject,
};
use atalaya_chassis::{Shutdown, Trigger};
use atalaya_correlator::detect::Limits;
use atalaya_correlator::sigma::RuleFile;
use atalaya_correlator::{Config, Deps, open_state, run};
use atalaya_model::{Alert, Books, Counts, LedgerKey, partition_of};
use atalaya_proto::alert_v1::Alerts;
use atalaya_testkit::TestBus;
use bytes::Bytes;
use prost::Message as _;
use tokio::task::JoinHandle;

use crate::script::{Step, What};

pub(crate) const PARTITIONS: u16 = 2;

/// How long something that must come may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const LANE: &str = "c1-0";

pub(crate) fn limits() -> Limits {
    let config = config("");
    Limits { groups_per_rule: config.groups_per_rule, idle_us: 1_000 * i64::try_from(config.idle_ms).unwrap() }
}

pub(crate) fn config(rules: &str) -> Config {
    let rules = vec![RuleFile { path: "rules.yml".to_owned(), text: rules.to_owned() }];
    Config {
        rules,
        built_in: false,
        groups_per_rule: 1_000,
        idle_ms: 60_000,
        snapshot_ms: 1,
        lease_ms: LeaseMs::SHORTEST,
        ..Config::default()
    }
}

/// A tenant of a partition.
pub(crate) fn tenant(partition: u16) -> String {
    let mut names = (0..).map(|number| format!("tenant{number}"));
    names.find(|name| partition_of(name, 0, PARTITIONS) == partition).unwrap()
}

pub(crate) struct World {
    test: TestBus,
}

impl World {
    pub(crate) fn new() -> Self {
        let options = Options { partitions: PARTITIONS, sync: false, tail_bytes: 1 << 16, ..Options::default() };
        Self { test: TestBus::with(&options).unwrap() }
    }

    pub(crate) fn bus(&self) -> Arc<dyn Bus> {
        self.test.bus()
    }

    pub(crate) async fn lane(&self) -> Lane {
        let output = OutputLane::evt(&LANE.parse().unwrap());
        Lane { writer: FencedWriter::resume(self.bus(), output).await.unwrap() }
    }

    pub(crate) fn deps(&self, bus: Arc<dyn Bus>) -> Deps {
        Deps { bus, state: open_state(&format!("file:{}", self.state().display())).unwrap() }
    }

    pub(crate) fn start(&self, rules: &str) -> Service {
        let (trigger, shutdown) = Shutdown::new();
        Service { trigger, task: tokio::spawn(run(config(rules), self.deps(self.bus()), shutdown)) }
    }

    /// Runs the service until everything is covered, and drains it.
    pub(crate) async fn run(&self, rules: &str) {
        let service = self.start(rules);
        self.until_done().await;
        service.drain().await;
    }

    /// A process that starts anew finds no lease.
    pub(crate) async fn break_leases(&self) {
        let leases = self.bus().bucket("leases").await.unwrap();
        for partition in 0..PARTITIONS {
            leases.delete(&lease(partition)).await.unwrap();
        }
    }

    /// The last message of EVT in a partition.
    pub(crate) async fn last(&self, partition: u16) -> u64 {
        let filter = Filter::new(&format!("evt.{partition}.>")).unwrap();
        self.bus().last(Stream::Evt, &filter).await.unwrap().map_or(0, |message| message.sequence)
    }

    /// Up to where ALERT covers a partition.
    pub(crate) async fn covered(&self, partition: u16) -> u64 {
        let filter = Filter::new(&format!("alert.{partition}")).unwrap();
        let newest = self.bus().last(Stream::Alert, &filter).await.unwrap();
        let covers = newest.filter(|newest| newest.headers.end).and_then(|newest| newest.headers.covers.clone());
        covers.map_or(0, |position| position.sequence)
    }

    pub(crate) async fn is_done(&self, partition: u16) -> bool {
        self.covered(partition).await == self.last(partition).await
    }

    pub(crate) async fn until_done(&self) {
        for partition in 0..PARTITIONS {
            until("the alerts", async || self.is_done(partition).await).await;
        }
    }

    pub(crate) async fn events(&self, partition: u16) -> Vec<Message> {
        self.test.all(Stream::Evt, &format!("evt.{partition}.>")).await.unwrap()
    }

    /// Every alert of a partition as it was written.
    pub(crate) async fn alerts(&self, partition: u16) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for message in self.test.all(Stream::Alert, &format!("alert.{partition}")).await.unwrap() {
            for alert in Alerts::decode(message.body.clone()).unwrap().alerts {
                alerts.push(Alert::try_from(alert).unwrap());
            }
        }
        alerts
    }

    /// A file of the state store.
    pub(crate) fn state(&self) -> PathBuf {
        self.test.directory().join("state")
    }

    /// A partition's snapshots, oldest first.
    pub(crate) fn snapshots(&self, partition: u16) -> Vec<PathBuf> {
        files(self.state().join(format!("snapshots/{partition}")))
    }

    /// The rule sets that are kept.
    pub(crate) fn kept_rules(&self) -> Vec<PathBuf> {
        files(self.state().join("rules"))
    }
}

/// Every file below a directory.
fn files(directory: PathBuf) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(path)) } else { found.push(path) }
    }
    found.retain(|path| !path.to_str().unwrap().contains('#'));
    found.sort();
    found
}

pub(crate) fn lease(partition: u16) -> String {
    format!("evt.{partition}.correlator")
}

pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < until, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A running service.
pub(crate) struct Service {
    trigger: Trigger,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Service {
    pub(crate) async fn drain(self) {
        self.trigger.request();
        self.task.await.unwrap().unwrap();
    }

    /// Ends it wherever it is.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// A normalizer's lane.
pub(crate) struct Lane {
    writer: FencedWriter,
}

impl Lane {
    pub(crate) async fn write_all(&mut self, steps: &[Step]) {
        for step in steps {
            self.write(step).await;
        }
    }

    pub(crate) async fn write(&mut self, step: &Step) {
        let number = self.writer.position().map_or(1, |position| position.sequence + 1);
        let covers = Position { incarnation: 1, sequence: number, id: format!("raw{number}") };
        let tenant = tenant(step.partition);
        let headers = Headers {
            id: format!("{LANE}/{number}"),
            received_time_us: step.received_us,
            source: "test".to_owned(),
            domain: "live".to_owned(),
            input: step.input,
            ..Headers::default()
        };
        let part = match &step.what {
            What::Logins(logins) => {
                let batch = step.batch(&tenant, logins, &headers.id);
                let rows = u32::try_from(logins.len()).unwrap();
                let mut books = Books::default();
                let key = LedgerKey { source: "test".into(), tenant, domain: "live".into() };
                books.add(&key, Counts { events: rows.into(), ..Counts::default() });
                part(step.partition, "authentication", Headers { rows, books, ..headers }, batch.encode())
            }
            What::Control(entry) => {
                let body = step.header(&tenant, *entry).encode_to_vec().into();
                part(step.partition, "input", Headers { kind: Kind::Input, ..headers }, body)
            }
            What::Mark => part(step.partition, "mark", Headers { kind: Kind::Mark, ..headers }, Bytes::new()),
        };
        self.writer.write(covers, vec![part], Books::default()).await.unwrap();
    }
}

fn part(partition: u16, token: &str, headers: Headers, body: Bytes) -> Part {
    let subject = Subject::new(&format!("evt.{partition}.{LANE}.{token}")).unwrap();
    Part { subject, headers, body, decoded: None }
}
