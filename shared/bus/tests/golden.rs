//! A bus as the first version left it is read: a whole journal, and the headers as every adapter carries them. What a
//! newer version adds is passed over, what it changes is refused: readers are upgraded before writers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use atalaya_bus::journal::{Journal, Options};
use atalaya_bus::{
    Bus, Fence, FencedWriter, Filter, Floor, Floors, Headers, HeadersError, Kind, Message, Outgoing, OutputLane,
    Position, Stream, Subject,
};
use atalaya_model::{Books, Counts, LedgerKey};
use bytes::Bytes;
use tempfile::TempDir;

/// A directory with a journal of version 1. Like the other files here it may never change.
const JOURNAL: &str = "journal-v1.tar.gz";

/// When it was created, microseconds since 1970: the incarnation of its streams.
const CREATED_US: u64 = 1_795_531_163_353_608;

/// Trace context of all messages.
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata").join(name)
}

fn kept(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// One message of each kind that services write.
struct Golden {
    name: &'static str,
    stream: Stream,
    subject: &'static str,
    /// What guards it, where that is not its own subject.
    filter: &'static str,
    headers: Headers,
    /// The body is what the crate that owns it keeps of the same version.
    body: &'static str,
}

impl Golden {
    fn fence(&self) -> Fence {
        Fence::new(self.stream, Subject::new(self.subject).unwrap(), Filter::new(self.filter).unwrap()).unwrap()
    }

    fn body(&self) -> Bytes {
        kept(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(self.body)).into()
    }

    fn headers_path(&self) -> PathBuf {
        path(&format!("headers-v1-{}.json", self.name))
    }
}

fn books(source: &str, counts: Counts) -> Books {
    let mut books = Books::default();
    books.add(&LedgerKey { source: source.into(), tenant: "acme".into(), domain: "live".into() }, counts);
    books
}

fn position(incarnation: u64, sequence: u64, id: &str) -> Option<Position> {
    Some(Position { incarnation, sequence, id: id.into() })
}

/// Every field is named, and over all messages each has a value of its own: a new field is a new line here.
fn headers(id: &str, rows: u32) -> Headers {
    Headers {
        version: 1,
        id: id.into(),
        kind: Kind::Data,
        covers: position(1_795_500_000_000_001, 42, "c1-0.1795500000123.42"),
        predecessor: 0,
        chain: 0,
        end: true,
        books: Books::default(),
        min_time_us: Some(1_521_911_720_865_716),
        max_time_us: Some(1_521_911_720_999_999),
        received_time_us: 1_795_500_001_000_001,
        source: "edge".into(),
        domain: "live".into(),
        input: 17,
        rows,
        rule_set: String::new(),
        enrichment: String::new(),
        traceparent: Some(TRACEPARENT.into()),
    }
}

fn goldens() -> [Golden; 5] {
    let raw = Counts { received: 9, known: 5, dropped: 1, ..Counts::default() };
    let evt = Counts { normalized: 2, parked: 1, events: 2, late: 1, ..Counts::default() };
    [
        Golden {
            name: "raw",
            stream: Stream::Raw,
            subject: "raw.c1-0.edge",
            filter: "raw.c1-0.>",
            headers: Headers { min_time_us: None, max_time_us: None, books: books("edge", raw), ..headers("r", 3) },
            body: "proto/tests/testdata/raw-v1.bin",
        },
        Golden {
            name: "evt",
            stream: Stream::Evt,
            subject: "evt.14.c1-0.dns_activity",
            filter: "evt.*.c1-0.>",
            headers: Headers {
                books: books("edge", evt),
                enrichment: "geo=2026-11,asn=7".into(),
                predecessor: 7,
                chain: 5,
                ..headers("e", 2)
            },
            body: "shared/schema/tests/golden/evt-v1-dns_activity.bin",
        },
        Golden {
            name: "alert",
            stream: Stream::Alert,
            subject: "alert.14",
            filter: "alert.14",
            headers: Headers {
                source: "alerts".into(),
                books: books("alerts", Counts { alerts: 1, ..Counts::default() }),
                rule_set: "9f86d081884c7d65".into(),
                ..headers("a", 2)
            },
            body: "proto/tests/testdata/alerts-v1.bin",
        },
        Golden {
            name: "action",
            stream: Stream::Alert,
            subject: "action.acme",
            filter: "action.acme",
            headers: Headers { covers: None, traceparent: None, source: String::new(), ..headers("ack", 1) },
            body: "proto/tests/testdata/action-v1-assign.bin",
        },
        Golden {
            name: "dlq",
            stream: Stream::Dlq,
            subject: "dlq.normalizer.c1-0",
            filter: "dlq.normalizer.c1-0",
            headers: Headers { end: false, domain: "replay-1795500000123-1".into(), ..headers("d", 1) },
            body: "proto/tests/testdata/parked-v1.bin",
        },
    ]
}

fn floor() -> Floor {
    let position = position(1_795_500_000_000_001, 6, "e6").unwrap();
    Floor { position, books: books("edge", Counts { archived: 3, ..Counts::default() }) }
}

/// Writes the files that are missing, with today's code.
#[tokio::test]
#[ignore = "run by hand when a version gets files of its own"]
async fn write_what_is_missing() {
    for golden in goldens().iter().filter(|golden| !golden.headers_path().exists()) {
        std::fs::write(golden.headers_path(), golden.headers.encode().unwrap()).unwrap();
    }
    if path(JOURNAL).exists() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let journal = open(directory.path());
    for golden in goldens() {
        let message = Outgoing { headers: golden.headers.clone(), body: golden.body(), decoded: None };
        journal.append(&golden.fence(), 0, message).await.unwrap();
    }
    let bucket = journal.bucket("producers").await.unwrap();
    bucket.put("sensor-1", Bytes::from_static(b"c1"), 0, None).await.unwrap();
    let floors = Floors::open(&journal).await.unwrap();
    floors.hold(Stream::Evt, "archive", "14").await.unwrap().set(floor()).await.unwrap();
    journal.close().await.unwrap();
    // The second life cuts what the first one had in reserve off its log.
    open(directory.path()).close().await.unwrap();
    tar("-czf", directory.path());
}

fn open(directory: &Path) -> Journal {
    Journal::open(directory, &Options::default()).unwrap()
}

/// Packs the directory, or unpacks into it.
fn tar(mode: &str, directory: &Path) {
    let mut tar = Command::new("tar");
    tar.arg(mode).arg(path(JOURNAL)).arg("-C").arg(directory).arg("store");
    if mode == "-czf" {
        tar.args(["--owner=0", "--group=0", "--sparse"]);
    }
    assert!(tar.status().unwrap().success());
}

fn unpacked() -> TempDir {
    let directory = TempDir::new().unwrap();
    tar("-xzf", directory.path());
    directory
}

async fn all(bus: &dyn Bus, stream: Stream) -> Vec<Message> {
    let mut reader = bus.read(stream, &Filter::new(">").unwrap(), 0).await.unwrap();
    let mut messages = Vec::new();
    while let Some(message) = reader.try_next().await.unwrap() {
        messages.push(message);
    }
    messages
}

#[tokio::test]
async fn a_journal_of_the_first_version_is_read_and_goes_on() {
    let directory = unpacked();
    let journal = open(directory.path());
    for stream in Stream::ALL {
        let found = all(&journal, stream).await;
        let expected: Vec<_> = goldens().into_iter().filter(|golden| golden.stream == stream).collect();
        assert_eq!(found.len(), expected.len(), "{stream}");
        for ((found, expected), sequence) in found.iter().zip(&expected).zip(1..) {
            assert_eq!((found.subject.as_str(), found.sequence), (expected.subject, sequence));
            assert_eq!((&*found.headers, &found.body), (&expected.headers, &expected.body()), "{}", expected.name);
            let last = journal.last(stream, expected.fence().filter()).await.unwrap().unwrap();
            assert_eq!(last.sequence, sequence);
        }
        let info = journal.info(stream).await.unwrap();
        let messages = expected.len() as u64;
        assert_eq!((info.first, info.last, info.messages, info.partitions), (1, messages, messages, 16));
        assert_eq!(info.incarnation, CREATED_US);
    }
    let producer = journal.bucket("producers").await.unwrap().get("sensor-1").await.unwrap().unwrap();
    assert_eq!((&producer.value[..], producer.revision), (b"c1".as_slice(), 1));
    let floors = Floors::open(&journal).await.unwrap().all(Stream::Evt).await.unwrap();
    assert_eq!(floors, [("archive".to_owned(), "14".to_owned(), floor())]);

    // Whoever wrote it goes on where it was: its position is that of its own last message.
    let journal: Arc<dyn Bus> = Arc::new(journal);
    let writer = FencedWriter::resume(Arc::clone(&journal), OutputLane::alert(14)).await.unwrap();
    assert_eq!(writer.position(), goldens()[2].headers.covers.as_ref());
    let raw = &goldens()[0];
    let next = Outgoing { headers: raw.headers.clone(), body: raw.body(), decoded: None };
    assert_eq!(journal.append(&raw.fence(), 1, next).await.unwrap(), 2);
}

#[test]
fn headers_of_the_first_version_are_read_and_written_the_same() {
    for golden in goldens() {
        let text = kept(&golden.headers_path());
        assert_eq!(Headers::decode(&text).unwrap(), golden.headers, "{}", golden.name);
        assert_eq!(golden.headers.encode().unwrap(), text, "{}: another form needs another version", golden.name);
    }
}

/// The kept headers, with something added in front.
fn with(golden: &Golden, added: &str) -> Vec<u8> {
    let text = String::from_utf8(kept(&golden.headers_path())).unwrap();
    text.replacen('{', &format!("{{{added},"), 1).into_bytes()
}

#[test]
fn fields_that_are_not_known_are_passed_over() {
    for golden in goldens() {
        let text = with(&golden, r#""zone":{"name":"eu","shards":[1,2]},"priority":3"#);
        assert_eq!(Headers::decode(&text).unwrap(), golden.headers, "{}", golden.name);
    }
}

/// Whatever else a newer version changes, it is its number that is told.
#[test]
fn headers_of_a_newer_version_are_refused_as_such() {
    let newer = |golden: &Golden| {
        String::from_utf8(kept(&golden.headers_path())).unwrap().replace(r#""version":1"#, r#""version":2"#)
    };
    let golden = &goldens()[1];
    for text in [newer(golden), newer(golden).replace(r#""data""#, r#""batch""#), r#"{"version":2,"id":7}"#.to_owned()]
    {
        let refused = Headers::decode(text.as_bytes()).unwrap_err();
        assert!(matches!(refused, HeadersError::Newer(2)), "{text}: {refused}");
        let said = refused.to_string();
        assert_eq!(said, "headers of version 2, this program reads up to 1: upgrade readers before writers");
    }
    assert!(matches!(Headers::decode(br#"{"version":1,"id":7}"#), Err(HeadersError::Json(_))));
}

/// The reader stops there and says why.
#[tokio::test]
async fn a_reader_stops_at_a_message_of_a_newer_version() {
    let directory = unpacked();
    let journal = open(directory.path());
    let golden = &goldens()[1];
    let headers = Headers { version: 2, ..golden.headers.clone() };
    journal.append(&golden.fence(), 1, Outgoing { headers, body: golden.body(), decoded: None }).await.unwrap();
    journal.close().await.unwrap();
    let journal = open(directory.path());
    let mut reader = journal.read(Stream::Evt, &Filter::new("evt.14.>").unwrap(), 0).await.unwrap();
    let mut read = Vec::new();
    let stopped = loop {
        match reader.try_next().await {
            Ok(message) => read.push(message.expect("it does not stop").sequence),
            Err(error) => break error.to_string(),
        }
    };
    assert_eq!(
        stopped,
        "EVT 2 is damaged: headers of version 2, this program reads up to 1: upgrade readers before writers"
    );
    assert!(read.iter().all(|&sequence| sequence == 1), "{read:?}");
}
