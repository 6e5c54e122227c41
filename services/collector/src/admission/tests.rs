//! Files read again and again, in any chunks: what is known is never taken in, what is new always is.

use std::collections::BTreeMap;
use std::path::Path;

use atalaya_proto::raw::RawBody;
use atalaya_proto::raw_v1::RawHeader;
use proptest::prelude::*;

use super::*;
use crate::cut::Cut;
use crate::sources::files::{Cutter, Taken};
use crate::sources::zeek::ZeekSplitter;

/// A store of continuations, as the spool's bucket is.
#[derive(Default)]
struct Store(BTreeMap<String, Continuation>);

impl Store {
    fn from(&self, anchor: Digest) -> Vec<Continuation> {
        let prefix = continuations_of(anchor);
        self.0.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(_, value)| *value).collect()
    }
}

/// What one reading gave.
#[derive(Debug, Default, PartialEq)]
struct Found {
    known: u64,
    records: Vec<String>,
}

/// How a file is handed over.
#[derive(Clone, Copy, Debug)]
struct Manner {
    /// Bytes at a time.
    chunk: usize,
    /// Whether the file is complete.
    whole: bool,
    /// Whether what was gathered is flushed after every chunk, as it is of a file that grows.
    flush: bool,
    /// Cuts after which the reader dies, with what it has not given away.
    cuts: usize,
}

const WHOLE: Manner = Manner { chunk: 1 << 20, whole: true, flush: false, cuts: usize::MAX };

fn splitter() -> Box<dyn crate::sources::Splitter> {
    Box::new(ZeekSplitter::new(Path::new("conn.log")))
}

fn follow(store: &Store, bytes: &[u8], manner: Manner) -> Known {
    let mut follower = Follower::new(&Scope::new("zeek", "shared"), splitter());
    let (mut start, mut stop) = (0, 0);
    loop {
        match follower.take(&bytes[start..stop], manner.whole && stop == bytes.len()) {
            Follow::Done => break,
            Follow::Ask(used, anchor) => {
                start += used;
                follower.learn(&store.from(anchor));
            }
            Follow::More(used) if stop == bytes.len() => {
                start += used;
                if !manner.whole {
                    break;
                }
            }
            Follow::More(used) => {
                start += used;
                stop = bytes.len().min(stop + manner.chunk);
            }
        }
    }
    follower.known()
}

fn read(store: &mut Store, writer: &str, bytes: &[u8], manner: Manner) -> Found {
    let known = follow(store, bytes, manner);
    let mut found = Found { known: known.records, records: Vec::new() };
    let mut start = bytes.len().min(usize::try_from(known.trail.offset()).unwrap());
    let (mut stop, mut cutter, mut cuts) = (start, Cutter::new(known), 0);
    let mut give = |mut cut: Cut| {
        cuts += 1;
        if cuts > manner.cuts {
            return false;
        }
        for admitted in std::mem::take(&mut cut.admitted) {
            store.0.insert(admitted.key(writer), admitted.continuation);
        }
        let body = RawBody::decode(&cut.encode(RawHeader::default())).unwrap();
        found.records.extend(body.records().map(|record| String::from_utf8_lossy(record).into_owned()));
        true
    };
    let mut alive = true;
    while alive {
        let (used, cut) = match cutter.take(&bytes[start..stop], manner.whole && stop == bytes.len()) {
            Taken::Cut(used, cut) => (used, Some(*cut)),
            Taken::More(used) => {
                let end = stop == bytes.len();
                stop = bytes.len().min(stop + manner.chunk);
                alive = !end;
                (used, if end || manner.flush { cutter.flush() } else { None })
            }
        };
        start += used;
        alive &= cut.is_none_or(&mut give);
    }
    found
}

fn text(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("{n} {}\n", "x".repeat(n as usize % 300))).collect()
}

#[test]
fn the_same_again_is_known_and_growth_is_new() {
    let (mut store, log) = (Store::default(), text(0..5_000));
    assert_eq!(read(&mut store, "a", log.as_bytes(), WHOLE).records.len(), 5_000);
    assert!(store.0.len() < 5, "{} entries", store.0.len());
    assert_eq!(read(&mut store, "b", log.as_bytes(), WHOLE), Found { known: 5_000, records: Vec::new() });
    let grown = log.clone() + &text(5_000..5_010);
    let found = read(&mut store, "c", grown.as_bytes(), WHOLE);
    assert_eq!((found.known, found.records.len()), (5_000, 10));
    assert_eq!(read(&mut store, "d", grown.as_bytes(), WHOLE).known, 5_010);
}

#[test]
fn a_last_line_is_the_same_with_and_without_its_end() {
    let mut store = Store::default();
    assert_eq!(read(&mut store, "a", b"one\ntwo", WHOLE).records, ["one", "two"]);
    assert_eq!(read(&mut store, "b", b"one\ntwo\nthree", WHOLE), Found { known: 2, records: vec!["three".into()] });
    assert_eq!(read(&mut store, "c", b"one\ntwo\nthree\n", WHOLE).known, 3);
    // It went on, so it was another record.
    assert_eq!(read(&mut store, "d", b"one\ntwofold", WHOLE).records, ["one", "twofold"]);
    assert_eq!(read(&mut store, "e", b"single", WHOLE).records, ["single"]);
    assert_eq!(read(&mut store, "f", b"single\n", WHOLE), Found { known: 1, records: Vec::new() });
}

#[test]
fn another_source_or_tenant_knows_nothing_of_it() {
    let mut trails = [("zeek", "shared"), ("zeek", "acme"), ("zee", "kshared")].map(|(source, tenant)| {
        let mut trail = Trail::new(&Scope::new(source, tenant));
        trail.pass(b"one\n");
        trail.digest()
    });
    trails.sort_unstable();
    assert!(trails.windows(2).all(|pair| pair[0] != pair[1]));
    let continuation = Continuation { length: 7, digest: trails[0] };
    assert_eq!(Continuation::decode(&continuation.encode()), Some(continuation));
}

/// Lines that repeat, comments, blank lines and context changes.
fn log() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        4 => (0u32..1_000).prop_map(|n| format!("record {n}")),
        1 => Just("#path\tconn".to_owned()),
        1 => (0u32..3).prop_map(|n| format!("#fields\ta{n}")),
        1 => Just(String::new()),
    ];
    prop::collection::vec(line, 1..60).prop_map(|lines| lines.join("\n"))
}

fn manner() -> impl Strategy<Value = Manner> {
    (1usize..200, any::<bool>()).prop_map(|(chunk, flush)| Manner { chunk, whole: true, flush, cuts: usize::MAX })
}

fn records(log: &str) -> Vec<String> {
    log.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect()
}

proptest! {
    #[test]
    fn every_record_is_taken_in_once(log in log(), rest in log(), first in manner(), second in manner(), cuts in 0usize..4) {
        let mut store = Store::default();
        // A reader dies, one goes on behind it, the file grows, and is read again in another manner.
        let mut got = read(&mut store, "a", log.as_bytes(), Manner { cuts, ..first }).records;
        let again = read(&mut store, "b", log.as_bytes(), second);
        prop_assert_eq!(again.known as usize, got.len());
        got.extend(again.records);
        prop_assert_eq!(&got, &records(&log));
        let grown = format!("{log}\n{rest}");
        let more = read(&mut store, "c", grown.as_bytes(), first);
        prop_assert_eq!(more.known as usize, got.len());
        got.extend(more.records);
        prop_assert_eq!(&got, &records(&grown));
        let all = read(&mut store, "d", grown.as_bytes(), second);
        prop_assert_eq!((all.known as usize, all.records.len()), (got.len(), 0));
    }

    #[test]
    fn a_growing_file_waits_for_line_ends(log in log(), at in 0usize..500, chunk in 1usize..50) {
        let mut store = Store::default();
        let growing = Manner { chunk, whole: false, flush: true, cuts: usize::MAX };
        let at = at.min(log.len());
        let mut got = read(&mut store, "a", &log.as_bytes()[..at], growing).records;
        let more = read(&mut store, "b", log.as_bytes(), WHOLE);
        prop_assert_eq!(more.known as usize, got.len());
        got.extend(more.records);
        prop_assert_eq!(got, records(&log));
    }
}
