//! kill -9 at any moment loses nothing that was answered.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use atalaya_bus::journal::{Journal, Options};
use atalaya_bus::{Bus, ChainCheck, FencedWriter, Headers, OutputLane, Part, Position, Sequence, Stream, Subject};
use atalaya_model::{Books, LaneId};
use bytes::Bytes;
use tempfile::TempDir;

use crate::{fence, filter, outgoing};

/// Set in the process that is killed: where it writes.
const DIRECTORY: &str = "ATALAYA_KILLED_IN";
const LANES: usize = 4;
const ROUNDS: u64 = 6;

/// Small memtables fill soon with these, so that kills meet flushes and compactions, too.
const BODY_BYTES: usize = 30_000;

/// Writes until it is killed, and says what was answered. Does nothing when it is run as a test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_writer() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let journal = Arc::new(Journal::open(directory, &Options::default()).unwrap());
    let lanes: Vec<_> = (0..LANES).map(|lane| tokio::spawn(write_lane(Arc::clone(&journal), lane))).collect();
    let spool = tokio::spawn(write_with_entries(Arc::clone(&journal)));
    for task in lanes {
        task.await.unwrap();
    }
    spool.await.unwrap();
}

/// Output of one to three parts per position, through the fenced writer.
async fn write_lane(journal: Arc<Journal>, lane: usize) {
    let id: LaneId = format!("c1-{lane}").parse().unwrap();
    let mut writer = FencedWriter::resume(journal, OutputLane::evt(&id)).await.unwrap();
    loop {
        let sequence = writer.position().map_or(1, |position| position.sequence + 1);
        let stored = writer.unfinished().map_or(0, |unfinished| unfinished.stored.len() as u64);
        let parts = (stored..1 + sequence % 3).map(|part| Part {
            subject: Subject::new(&format!("evt.{}.{id}.dns_activity", (sequence + part) % 16)).unwrap(),
            headers: Headers { id: format!("{sequence}.{part}"), ..Headers::default() },
            body: Bytes::from(vec![7; BODY_BYTES]),
            decoded: None,
        });
        let covers = Position { incarnation: 1, sequence, id: String::new() };
        writer.write(covers, parts.collect(), Books::default()).await.unwrap();
        println!("evt {id} {sequence} {}", writer.last());
    }
}

/// A message and an entry in one commit.
async fn write_with_entries(journal: Arc<Journal>) {
    let fence = fence(Stream::Raw, "raw.c1-0.zeek", "raw.c1-0.>");
    let newest = journal.last(Stream::Raw, fence.filter()).await.unwrap();
    let mut last = newest.map_or(0, |message| message.sequence);
    loop {
        let entries = vec![("admitted".to_owned(), "count".to_owned(), Bytes::from((last + 1).to_string()))];
        last = journal.append_with(&fence, last, outgoing("x", 2_000), entries).await.unwrap();
        println!("raw c1-0 0 {last}");
    }
}

fn start(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::killed_writer", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn kill_loses_nothing_answered() {
    let directory = TempDir::new().unwrap();
    let (mut answered, mut raw) = (HashMap::new(), 0);
    for round in 0..ROUNDS {
        let mut child = start(directory.path());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reading = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
        tokio::time::sleep(Duration::from_millis(150 + 130 * round)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        for line in reading.join().unwrap() {
            // The last line may be cut off.
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                ["evt", lane, position, sequence] => {
                    answered.insert(lane.to_owned(), (position.parse().unwrap(), sequence.parse().unwrap()));
                }
                ["raw", _, _, sequence] => raw = sequence.parse().unwrap(),
                _ => {}
            }
        }
        check(directory.path(), &answered, raw).await;
    }
    assert_eq!(answered.len(), LANES, "lanes that wrote nothing");
    assert!(raw > 0);
}

/// Everything answered is there, in order, once, and no chain has a hole.
async fn check(directory: &Path, answered: &HashMap<String, (Sequence, Sequence)>, raw: Sequence) {
    let journal = Journal::open(directory, &Options::default()).unwrap();
    let mut reader = journal.read(Stream::Evt, &filter(">"), 0).await.unwrap();
    let (mut chains, mut last, mut ids) = (ChainCheck::new(0), 0, HashMap::<String, Vec<String>>::new());
    while let Some(message) = reader.try_next().await.unwrap() {
        chains.check(&message).unwrap();
        assert!(message.sequence > last && message.body.len() == BODY_BYTES);
        last = message.sequence;
        let lane = message.subject.token(2).unwrap().to_owned();
        ids.entry(lane).or_default().push(message.headers.id.clone());
    }
    for (lane, &(position, sequence)) in answered {
        let message = journal.get(Stream::Evt, sequence).await.unwrap().unwrap();
        assert!(message.headers.end, "{lane}");
        let wanted = (1..=position).flat_map(|p: u64| (0..1 + p % 3).map(move |part| format!("{p}.{part}")));
        let found = &ids[lane];
        assert!(wanted.zip(found).all(|(wanted, found)| wanted == *found), "{lane}: {found:?}");
        let parts: u64 = (1..=position).map(|p| 1 + p % 3).sum();
        assert!(found.len() as u64 >= parts, "{lane}: {} of {parts}", found.len());
    }
    let newest = journal.last(Stream::Raw, &filter("raw.>")).await.unwrap().map_or(0, |message| message.sequence);
    let entry = journal.bucket("admitted").await.unwrap().get("count").await.unwrap();
    assert!(newest >= raw, "{raw} was answered, {newest} is the last one");
    assert_eq!(entry.map_or("0".into(), |entry| entry.value), newest.to_string());
    journal.close().await.unwrap();
}
