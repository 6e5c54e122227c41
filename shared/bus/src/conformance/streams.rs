//! Order, fences, readers, limits.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

use super::{LARGE_BYTES, fence, fill, filter, ids, mark, next, nothing_comes, outgoing, same};
use crate::{AppendError, Bus, BusError, Kind, Position, Stream, verify_position};

/// Messages come back in the order of their numbers, from any position, and the numbers grow.
pub(super) async fn order(bus: Arc<dyn Bus>) -> Result<()> {
    let (a, b) = (fence(Stream::Raw, "raw.a.zeek", "raw.a.>")?, fence(Stream::Raw, "raw.b.zeek", "raw.b.>")?);
    let (mut last_a, mut last_b) = (0, 0);
    let mut sequences = Vec::new();
    for id in 0..40_u32 {
        let (fence, last) = if id % 2 == 0 { (&a, &mut last_a) } else { (&b, &mut last_b) };
        *last = bus.append(fence, *last, outgoing(&id.to_string(), "x")).await?;
        sequences.push(*last);
    }
    ensure!(sequences.is_sorted_by(|a, b| a < b), "{sequences:?}");
    for start in [0, 1, 17, 39] {
        let after = if start == 0 { 0 } else { sequences[start - 1] };
        let mut reader = bus.read(Stream::Raw, &filter("raw.>")?, after).await?;
        let wanted: Vec<_> = (start..40).map(|id| id.to_string()).collect();
        same(ids(reader.as_mut(), wanted.len()).await?, wanted)?;
        same(reader.try_next().await?.map(|message| message.sequence), None)?;
    }
    let info = bus.info(Stream::Raw).await?;
    same((info.messages, info.last, info.partitions), (40, sequences[39], 4))?;
    same(bus.info(Stream::Evt).await?.messages, 0)
}

/// A writer whose last message is not the last one is refused, and nothing is stored.
pub(super) async fn fence_refuses_a_stale_writer(bus: Arc<dyn Bus>) -> Result<()> {
    let fence = fence(Stream::Alert, "alert.1", "alert.1")?;
    let first = bus.append(&fence, 0, outgoing("first", "x")).await?;
    let second = bus.append(&fence, first, outgoing("second", "x")).await?;
    for stale in [0, first, second + 1] {
        let refused = bus.append(&fence, stale, outgoing("stale", "x")).await;
        ensure!(matches!(refused, Err(AppendError::Fenced { .. })), "expected {stale}: {refused:?}");
    }
    same(bus.info(Stream::Alert).await?.messages, 2)?;
    let last = bus.last(Stream::Alert, &filter("alert.1")?).await?.context("no last message")?;
    same((last.sequence, last.headers.id.as_str()), (second, "second"))
}

/// A fence holds over every subject under it, and over no other.
pub(super) async fn fences_cover_wildcards(bus: Arc<dyn Bus>) -> Result<()> {
    let on = |subject: &str| fence(Stream::Evt, subject, "evt.*.c1-0.>");
    let first = bus.append(&on("evt.0.c1-0.dns_activity")?, 0, outgoing("1", "x")).await?;
    let other = fence(Stream::Evt, "evt.0.c1-1.dns_activity", "evt.*.c1-1.>")?;
    bus.append(&other, 0, outgoing("other", "x")).await?;
    let refused = bus.append(&on("evt.3.c1-0.http_activity")?, 0, outgoing("2", "x")).await;
    ensure!(matches!(refused, Err(AppendError::Fenced { .. })), "{refused:?}");
    bus.append(&on("evt.3.c1-0.http_activity")?, first, outgoing("2", "x")).await?;
    let last = bus.last(Stream::Evt, &filter("evt.0.>")?).await?.context("no last message")?;
    same(last.headers.id.as_str(), "other")?;
    same(bus.last(Stream::Evt, &filter("evt.1.>")?).await?.is_none(), true)
}

/// Of many that append on the same condition one wins, every time.
pub(super) async fn contenders_never_both_win(bus: Arc<dyn Bus>) -> Result<()> {
    let fence = fence(Stream::Alert, "alert.0", "alert.0")?;
    let mut last = 0;
    for round in 0..30_u32 {
        let contender = |n: u32| bus.append(&fence, last, outgoing(&format!("{round}.{n}"), "x"));
        let (a, b, c, d) = tokio::join!(contender(0), contender(1), contender(2), contender(3));
        let won: Vec<_> = [a, b, c, d].into_iter().filter_map(Result::ok).collect();
        ensure!(won.len() == 1, "round {round}: {won:?}");
        last = won[0];
    }
    same(bus.info(Stream::Alert).await?.messages, 30)
}

/// A reader gets what is under its filter only, and waits for what comes later.
pub(super) async fn readers_filter_and_wait(bus: Arc<dyn Bus>) -> Result<()> {
    let (zero, one) = (fence(Stream::Alert, "alert.0", "alert.0")?, fence(Stream::Alert, "alert.1", "alert.1")?);
    let last = fill(bus.as_ref(), &zero, 0, 0..3).await?;
    let mut reader = bus.read(Stream::Alert, &filter("alert.0")?, 0).await?;
    same(ids(reader.as_mut(), 3).await?, ["0", "1", "2"].map(String::from).to_vec())?;
    fill(bus.as_ref(), &one, 0, 10..13).await?;
    nothing_comes(reader.as_mut()).await?;
    let late = async {
        tokio::time::sleep(super::SILENCE).await;
        fill(bus.as_ref(), &zero, last, 3..5).await
    };
    let (appended, read) = tokio::join!(late, ids(reader.as_mut(), 2));
    appended?;
    same(read?, ["3", "4"].map(String::from).to_vec())
}

/// A call of `next` that is dropped loses nothing.
pub(super) async fn next_is_cancel_safe(bus: Arc<dyn Bus>) -> Result<()> {
    let fence = fence(Stream::Raw, "raw.a.zeek", "raw.a.>")?;
    let mut reader = bus.read(Stream::Raw, &filter("raw.a.>")?, 0).await?;
    let writer = async { fill(bus.as_ref(), &fence, 0, 0..200).await };
    let wanted: Vec<_> = (0..200).map(|id| id.to_string()).collect();
    let read = async {
        let mut found = Vec::new();
        for round in 0..100_000_u32 {
            if found.len() == wanted.len() {
                break;
            }
            let wait = std::time::Duration::from_micros(u64::from(round % 50));
            if let Ok(message) = tokio::time::timeout(wait, reader.next()).await {
                found.push(message?.headers.id.clone());
            }
        }
        anyhow::Ok(found)
    };
    let (written, found) = tokio::join!(writer, read);
    written?;
    same(found?, wanted)
}

/// Headers and body come back as they were given, by reading, by number and as the last one.
pub(super) async fn what_is_stored_reads_back(bus: Arc<dyn Bus>) -> Result<()> {
    let fence = fence(Stream::Dlq, "dlq.normalizer.c1-0", "dlq.normalizer.c1-0")?;
    let mut message = outgoing("id", Bytes::from((0..100_000_u32).map(|n| n as u8).collect::<Vec<_>>()));
    message.headers.kind = Kind::Input;
    message.headers.covers = Some(Position { incarnation: u64::MAX, sequence: 7, id: "ä".to_owned() });
    message.headers.min_time_us = Some(-1);
    message.headers.source = "zeek".to_owned();
    let sequence = bus.append(&fence, 0, message.clone()).await?;
    let mut reader = bus.read(Stream::Dlq, &filter(">")?, 0).await?;
    let found = [
        next(reader.as_mut()).await?,
        bus.get(Stream::Dlq, sequence).await?.context("not there by number")?,
        bus.last(Stream::Dlq, &filter("dlq.*.*")?).await?.context("not there as the last")?,
    ];
    for found in found {
        same(found.headers.as_ref(), &message.headers)?;
        same(&found.body, &message.body)?;
        same((found.sequence, found.subject.as_str()), (sequence, "dlq.normalizer.c1-0"))?;
    }
    same(bus.get(Stream::Dlq, sequence + 1).await?.is_none(), true)?;
    same(bus.get(Stream::Dlq, 0).await?.is_none(), true)
}

/// A position of another stream, beyond the end, or with another message id is refused.
pub(super) async fn positions_are_verified(bus: Arc<dyn Bus>) -> Result<()> {
    let fence = fence(Stream::Raw, "raw.a.zeek", "raw.a.>")?;
    let last = fill(bus.as_ref(), &fence, 0, 0..3).await?;
    let incarnation = bus.info(Stream::Raw).await?.incarnation;
    let position = |incarnation, sequence, id: &str| Position { incarnation, sequence, id: id.to_owned() };
    for good in [position(incarnation, last, "2"), position(incarnation, last, ""), position(0, 0, "")] {
        verify_position(bus.as_ref(), Stream::Raw, &good).await.with_context(|| format!("{good:?}"))?;
    }
    for bad in [position(incarnation, last, "3"), position(incarnation + 1, last, "2"), position(incarnation, 9, "")] {
        let found = verify_position(bus.as_ref(), Stream::Raw, &bad).await;
        ensure!(matches!(found, Err(BusError::Mismatch(_))), "{bad:?}: {found:?}");
    }
    let beyond = bus.read(Stream::Raw, &filter(">")?, last + 1).await.map(|_| ());
    ensure!(matches!(beyond, Err(BusError::Mismatch(_))), "{beyond:?}");
    Ok(())
}

/// A full stream refuses data, still takes a mark, and takes data again after a trim. Nothing is overwritten.
pub(super) async fn full_refuses_and_recovers(bus: Arc<dyn Bus>) -> Result<()> {
    let fence = fence(Stream::Raw, "raw.a.zeek", "raw.a.>")?;
    let large = |id: usize| outgoing(&id.to_string(), vec![7; LARGE_BYTES]);
    let (mut last, mut stored) = (0, 0);
    let full = loop {
        match bus.append(&fence, last, large(stored)).await {
            Ok(sequence) => (last, stored) = (sequence, stored + 1),
            Err(error) => break error,
        }
        ensure!(stored < 100, "a stream of {} bytes took {stored} messages", super::TIGHT.max_bytes);
    };
    ensure!(matches!(full, AppendError::Full(Stream::Raw)), "{full:?}");
    ensure!(stored > 5, "only {stored} messages fit");
    let info = bus.info(Stream::Raw).await?;
    ensure!(info.bytes <= info.max_bytes && info.messages == stored as u64, "{info:?}");
    let last = bus.append(&fence, last, mark("mark")).await.context("a small mark")?;
    let first = bus.trim(Stream::Raw, 4, &[filter("raw.a.>")?]).await?;
    same(first, 4)?;
    let last = bus.append(&fence, last, large(stored)).await.context("after a trim")?;
    let mut reader = bus.read(Stream::Raw, &filter("raw.a.>")?, 3).await?;
    let mut found = next(reader.as_mut()).await?;
    same(found.headers.id.as_str(), "3")?;
    while found.sequence < last {
        found = next(reader.as_mut()).await?;
    }
    same(found.headers.id.clone(), stored.to_string())
}
