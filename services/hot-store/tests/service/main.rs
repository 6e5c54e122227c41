//! The service over a real journal and a real store in temporary directories.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod alerts;
mod events;
mod gaps;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_archive::Archive;
use atalaya_bus::journal::{Journal, Options};
use atalaya_bus::{Bus, FencedWriter, Floor, Floors, Headers, LeaseMs, OutputLane, Part, Position, Stream, Subject};
use atalaya_chassis::{Shutdown, Trigger};
use atalaya_hot::conformance::world::{TENANTS, World};
use atalaya_hot::conformance::{check, lookup};
use atalaya_hot::{Hot, LookupKind};
use atalaya_hot_store::{Config, Deps, run};
use atalaya_model::{Books, Counts, LedgerKey};
use tokio::task::JoinHandle;

/// How long something that must come may take.
const PATIENCE: Duration = Duration::from_secs(30);

const PARTITIONS: u16 = 4;

fn journal(directory: &Path) -> Arc<dyn Bus> {
    let options = Options { partitions: PARTITIONS, ..Options::default() };
    Arc::new(Journal::open(directory, &options).unwrap())
}

async fn hot(directory: &Path) -> Arc<dyn Hot> {
    atalaya_hot::open(&format!("file:{}", directory.display())).await.unwrap()
}

fn archive_in(directory: &Path) -> Archive {
    Archive::open(&format!("file:{}", directory.join("archive").display())).unwrap()
}

/// A running service; dropped, it drains.
struct Running {
    task: JoinHandle<anyhow::Result<()>>,
    trigger: Trigger,
}

impl Running {
    /// Over an archive that has nothing.
    fn start(bus: &Arc<dyn Bus>, hot: &Arc<dyn Hot>) -> Self {
        Self::with(bus, hot, &Archive::open("memory:").unwrap())
    }

    fn with(bus: &Arc<dyn Bus>, hot: &Arc<dyn Hot>, archive: &Archive) -> Self {
        let (trigger, shutdown) = Shutdown::new();
        let config = Config { lease_ms: LeaseMs::SHORTEST, ..Config::default() };
        let deps = Deps { bus: Arc::clone(bus), hot: Arc::clone(hot), archive: archive.clone() };
        Self { task: tokio::spawn(run(config, deps, shutdown)), trigger }
    }

    async fn drain(self) {
        self.trigger.request();
        self.task.await.unwrap().unwrap();
    }

    /// Stops it wherever it is.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

fn key(tenant: &str) -> LedgerKey {
    LedgerKey { source: "test".to_owned(), tenant: tenant.to_owned(), domain: "live".to_owned() }
}

/// Writes the world's messages to EVT, each as one position, as a normalizer does.
async fn write_events(bus: &Arc<dyn Bus>, world: &World, messages: std::ops::Range<usize>) {
    let lane = "c1-0".parse().unwrap();
    let mut writer = FencedWriter::resume(Arc::clone(bus), OutputLane::evt(&lane)).await.unwrap();
    for message in &world.messages[messages] {
        let rows = message.batch.rows.num_rows() as u64;
        let mut books = Books::default();
        books.add(&key("shared"), Counts { events: rows, ..Counts::default() });
        let class = message.batch.class.name();
        let part = Part {
            subject: Subject::new(&format!("evt.{}.{lane}.{class}", message.partition)).unwrap(),
            headers: Headers {
                id: message.id.clone(),
                books,
                received_time_us: message.received_time_us,
                source: "test".to_owned(),
                domain: "live".to_owned(),
                rows: u32::try_from(rows).unwrap(),
                ..Headers::default()
            },
            body: message.body.clone(),
            decoded: (message.sequence % 2 == 0).then(|| Arc::clone(&message.batch) as _),
        };
        let covers = Position { incarnation: 1, sequence: message.sequence, id: message.raw_id.clone() };
        writer.write(covers, vec![part], Books::default()).await.unwrap();
    }
}

async fn floors(bus: &Arc<dyn Bus>, stream: Stream) -> Vec<(String, Floor)> {
    let floors = Floors::open(bus.as_ref()).await.unwrap().all(stream).await.unwrap();
    floors.into_iter().filter(|(reader, ..)| reader == "hot").map(|(_, scope, floor)| (scope, floor)).collect()
}

/// What the floors count, over all partitions.
async fn counted(bus: &Arc<dyn Bus>) -> Counts {
    let mut books = Books::default();
    floors(bus, Stream::Evt).await.iter().for_each(|(_, floor)| books.merge(&floor.books));
    books.total(|key| key.source == "test")
}

async fn wait_until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < until, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn wait_until_counted(bus: &Arc<dyn Bus>, events: u64) {
    wait_until("the books", async || {
        let counts = counted(bus).await;
        assert!(counts.hot + counts.expired <= events, "{counts:?} of {events}");
        counts.hot + counts.expired == events
    })
    .await;
}

fn rows(world: &World, messages: std::ops::Range<usize>) -> u64 {
    world.messages[messages].iter().map(|message| message.batch.rows.num_rows() as u64).sum()
}

async fn check_all(hot: &Arc<dyn Hot>, world: &World) {
    for tenant in TENANTS {
        for (kind, value) in [(LookupKind::Tenant, ""), (LookupKind::Ip, "10.1.0.3"), (LookupKind::Domain, "evil.test")]
        {
            check(hot.as_ref(), world, &lookup(tenant, kind, value, 200)).await.unwrap();
        }
    }
}
