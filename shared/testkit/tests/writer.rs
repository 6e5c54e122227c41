//! The fenced writer under thousands of faults: every position's output is there once, in order.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use atalaya_bus::{
    Bus, ChainCheck, FencedWriter, Filter, Floor, Floors, Headers, Kind, Message, OutputLane, Part, Position, Sequence,
    Stream, Subject, TrimReader, Trimmer, WriteError,
};
use atalaya_model::{Books, Counts, LaneId, LedgerKey};
use atalaya_testkit::{FaultBus, Faults, Life, TestBus};
use bytes::Bytes;

/// Seeds of a run; a failing one is named and can be run alone.
const SEEDS: Range<u64> = 0..100;
const SEED: &str = "ATALAYA_SEED";

/// Input positions of a run.
const POSITIONS: Sequence = 40;

/// Lives a stage may need.
const MAX_LIVES: u64 = 500;

fn lane() -> LaneId {
    "c1-0".parse().unwrap()
}

/// How many messages a position gives: none, one, several.
fn parts_of(sequence: Sequence) -> u64 {
    [1, 0, 4, 1, 0, 0, 2][(sequence % 7) as usize]
}

fn counts(sequence: Sequence) -> Books {
    let mut books = Books::default();
    let key = LedgerKey { source: "s".into(), tenant: "t".into(), domain: "live".into() };
    books.add(&key, Counts { normalized: sequence, ..Counts::default() });
    books
}

fn part(sequence: Sequence, part: u64) -> Part {
    let subject = Subject::new(&format!("evt.{}.c1-0.dns_activity", (sequence + part) % 2)).unwrap();
    let headers = Headers { id: format!("{sequence}.{part}"), ..Headers::default() };
    Part { subject, headers, body: Bytes::from_static(b"body"), decoded: None }
}

/// One life of a stage: from where its output ends to the end of its input.
async fn stage(bus: Arc<dyn Bus>) -> Result<(), WriteError> {
    let mut writer = FencedWriter::resume(bus, OutputLane::evt(&lane())).await?;
    let start = writer.position().map_or(1, |position| position.sequence + 1);
    for sequence in start..=POSITIONS {
        let stored = match writer.unfinished() {
            Some(unfinished) if unfinished.position.sequence == sequence => unfinished.stored.len() as u64,
            _ => 0,
        };
        let parts = (stored..parts_of(sequence)).map(|n| part(sequence, n)).collect();
        let covers = Position { incarnation: 1, sequence, id: format!("in.{sequence}") };
        writer.write(covers, parts, counts(sequence)).await?;
        if sequence % 5 == 0 {
            writer.flush().await?;
        }
    }
    writer.flush().await
}

/// Lives on, crash after crash, until the input is done. How many lives it took. `between` is called after each.
async fn live(bus: &Arc<dyn Bus>, seed: u64, mut between: impl AsyncFnMut() -> Result<()>) -> Result<u64> {
    for n in 0..MAX_LIVES {
        between().await?;
        let life = Life::new(seed * MAX_LIVES + n, Faults::ROUGH);
        match life.run(stage(FaultBus::new(Arc::clone(bus), Arc::clone(&life)))).await {
            Some(Ok(())) => return Ok(n + 1),
            // Dead, or given up after too many failures: the next life finds out how far it got.
            None | Some(Err(WriteError::Bus(_) | WriteError::Fenced { .. })) => {}
            Some(Err(refused)) => return Err(refused.into()),
        }
    }
    anyhow::bail!("not done after {MAX_LIVES} lives")
}

/// What must hold of the output, whatever happened on the way.
fn check(messages: &[Message]) -> Result<()> {
    let mut chains = ChainCheck::new(0);
    let (mut predecessor, mut books, mut covered, mut ids) = (0, Books::default(), 0, Vec::new());
    for message in messages {
        let headers = &message.headers;
        chains.check(message)?;
        ensure!(headers.predecessor == predecessor, "{message:?} follows {predecessor}");
        predecessor = message.sequence;
        books.merge(&headers.books);
        let covers = headers.covers.as_ref().context("no position")?.sequence;
        ensure!(covers > covered || (covers == covered && !headers.end) || headers.kind == Kind::Mark, "{message:?}");
        if headers.end {
            covered = covers;
        }
        if headers.kind == Kind::Data {
            ids.push(headers.id.clone());
        }
    }
    let wanted = (1..=POSITIONS).flat_map(|s| (0..parts_of(s)).map(move |part| format!("{s}.{part}")));
    ensure!(ids == wanted.collect::<Vec<_>>(), "{ids:?}");
    ensure!(covered == POSITIONS, "covered {covered}");
    let total = books.total(|_| true).normalized;
    ensure!(total == (1..=POSITIONS).sum::<u64>(), "counted {total}");
    Ok(())
}

fn seeds() -> Range<u64> {
    match std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => SEEDS,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_output_is_there_once_and_in_order() -> Result<()> {
    let mut lives = 0;
    for seed in seeds() {
        let test = TestBus::new()?;
        let run = async {
            lives += live(&test.bus(), seed, async || Ok(())).await?;
            check(&test.all(Stream::Evt, ">").await?)
        };
        run.await.with_context(|| format!("run it again with {SEED}={seed}"))?;
    }
    if seeds() == SEEDS {
        assert!(lives > 2 * SEEDS.end, "only {lives} lives: the faults do not bite");
    }
    Ok(())
}

/// A stage that lost its lease and does not know it writes beside the new one: whoever wins, the output is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_twin_does_no_harm() -> Result<()> {
    for seed in seeds().step_by(5) {
        let test = TestBus::new()?;
        let bus = test.bus();
        let run = async {
            let (a, b) = tokio::join!(live(&bus, seed, async || Ok(())), live(&bus, seed + SEEDS.end, async || Ok(())));
            a?;
            b?;
            check(&test.all(Stream::Evt, ">").await?)
        };
        run.await.with_context(|| format!("run it again with {SEED}={seed}"))?;
    }
    Ok(())
}

/// What was read is trimmed between the lives: a stage resumes from the little that is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trims_between_the_lives_do_no_harm() -> Result<()> {
    for seed in seeds().step_by(3) {
        let test = TestBus::new()?;
        let bus = test.bus();
        let run = async {
            bus.bucket("lanes").await?.put(lane().as_str(), Bytes::new(), 0, None).await?;
            let reader = TrimReader { name: "test".to_owned(), yields: false };
            let trimmer = Trimmer::open(test.bus(), Stream::Evt, vec![reader], 0).await?;
            let floors = Floors::open(bus.as_ref()).await?;
            let mut reader = bus.read(Stream::Evt, &Filter::new(">")?, 0).await?;
            let mut messages = Vec::new();
            let drain = async || {
                while let Some(message) = reader.try_next().await? {
                    messages.push(message);
                }
                let position = Position { sequence: bus.info(Stream::Evt).await?.last, ..Position::default() };
                for partition in ["0", "1", "2"] {
                    let floor = Floor { position: position.clone(), books: Books::default() };
                    floors.hold(Stream::Evt, "test", partition).await?.set(floor).await?;
                }
                while trimmer.step().await?.more {}
                Ok(())
            };
            live(&bus, seed, drain).await?;
            while let Some(message) = reader.try_next().await? {
                messages.push(message);
            }
            check(&messages)
        };
        run.await.with_context(|| format!("run it again with {SEED}={seed}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn the_same_seed_draws_the_same_fate() {
    let fates = |seed| {
        let life = Life::new(seed, Faults::ROUGH);
        (0..200).map(|n| life.happens(0.3, "call", if n % 2 == 0 { "a" } else { "b" })).collect::<Vec<_>>()
    };
    assert_eq!(fates(7), fates(7));
    assert_ne!(fates(7), fates(8));
}

#[tokio::test]
async fn the_dead_do_nothing() -> Result<()> {
    let test = TestBus::new()?;
    let life = Life::new(1, Faults::NONE);
    let bus = FaultBus::new(test.bus(), Arc::clone(&life));
    let mut reader = bus.read(Stream::Evt, &Filter::new(">")?, 0).await?;
    life.crash();
    let hangs = Duration::from_millis(30);
    assert!(tokio::time::timeout(hangs, bus.info(Stream::Evt)).await.is_err());
    assert!(tokio::time::timeout(hangs, reader.try_next()).await.is_err());
    assert!(life.run(stage(bus)).await.is_none());
    assert!(test.all(Stream::Evt, ">").await?.is_empty());
    Ok(())
}
