//! What is let go, what is kept, and who notices.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use atalaya_model::{Books, LaneId};
use bytes::Bytes;

use super::writers::{part, position};
use super::{LARGE_BYTES, fence, fill, filter, ids, next, nothing_comes, outgoing, same};
use crate::{
    Bus, BusError, FencedWriter, Floor, Floors, OutputLane, Position, Sequence, Stream, TrimReader, Trimmed, Trimmer,
};

/// The newest message under each fence stays, readable, and still fences.
pub(super) async fn keeps_the_newest_under_each_fence(bus: Arc<dyn Bus>) -> Result<()> {
    let (a, b) = (fence(Stream::Raw, "raw.a.zeek", "raw.a.>")?, fence(Stream::Raw, "raw.b.zeek", "raw.b.>")?);
    let last_a = fill(bus.as_ref(), &a, 0, 0..5).await?;
    let last_b = fill(bus.as_ref(), &b, 0, 5..10).await?;
    let fences = [filter("raw.a.>")?, filter("raw.b.>")?, filter("raw.c.>")?];
    same(bus.trim(Stream::Raw, last_b, &fences).await?, last_b)?;
    let kept = bus.last(Stream::Raw, &filter("raw.a.>")?).await?.context("the newest of a is gone")?;
    same((kept.sequence, kept.headers.id.as_str()), (last_a, "4"))?;
    ensure!(bus.get(Stream::Raw, last_a).await?.is_some() && bus.get(Stream::Raw, 1).await?.is_none());
    same(bus.info(Stream::Raw).await?.first, last_b)?;
    ensure!(bus.append(&a, 0, outgoing("stale", "x")).await.is_err(), "a trim opened the fence");
    let next_a = bus.append(&a, last_a, outgoing("10", "x")).await?;
    // Kept no longer, as it is not the newest now.
    bus.trim(Stream::Raw, next_a, &fences).await?;
    ensure!(bus.get(Stream::Raw, last_a).await?.is_none() && bus.get(Stream::Raw, next_a).await?.is_some());
    ensure!(bus.get(Stream::Raw, last_b).await?.is_some(), "the newest of b is gone");
    // Nothing new: nothing goes, and nothing comes back.
    same(bus.trim(Stream::Raw, 1, &fences).await?, next_a)
}

/// A reader whose next message was trimmed is told.
pub(super) async fn a_gap_is_an_error(bus: Arc<dyn Bus>) -> Result<()> {
    let fence = fence(Stream::Evt, "evt.0.c1-0.dns_activity", "evt.*.c1-0.>")?;
    let last = fill(bus.as_ref(), &fence, 0, 0..10).await?;
    let mut reader = bus.read(Stream::Evt, &filter("evt.0.>")?, 0).await?;
    next(reader.as_mut()).await?;
    let first = bus.trim(Stream::Evt, 6, &[filter("evt.*.c1-0.>")?]).await?;
    same(first, 6)?;
    let mut late = bus.read(Stream::Evt, &filter("evt.0.>")?, 2).await?;
    for _ in 0..2 {
        let gap = late.try_next().await;
        ensure!(matches!(gap, Err(BusError::Gap { expected: 3, .. })), "{gap:?}");
    }
    let mut from_first = bus.read(Stream::Evt, &filter("evt.0.>")?, first - 1).await?;
    let left = ids(from_first.as_mut(), 5).await?;
    same(left, ["5", "6", "7", "8", "9"].map(String::from).to_vec())?;
    same(bus.last(Stream::Evt, &filter(">")?).await?.map(|message| message.sequence), Some(last))
}

/// A reader loses nothing by a trim of what is not under its filter, or of what it has read.
pub(super) async fn an_idle_reader_sees_no_gap(bus: Arc<dyn Bus>) -> Result<()> {
    let (a, b) = (fence(Stream::Raw, "raw.a.zeek", "raw.a.>")?, fence(Stream::Raw, "raw.b.zeek", "raw.b.>")?);
    let last_a = fill(bus.as_ref(), &a, 0, 0..2).await?;
    let last_b = fill(bus.as_ref(), &b, 0, 2..20).await?;
    bus.trim(Stream::Raw, last_b, &[filter("raw.a.>")?, filter("raw.b.>")?]).await?;
    let mut idle = bus.read(Stream::Raw, &filter("raw.a.>")?, last_a).await?;
    nothing_comes(idle.as_mut()).await?;
    fill(bus.as_ref(), &a, last_a, 20..21).await?;
    same(ids(idle.as_mut(), 1).await?, vec!["20".to_owned()])
}

/// A number is never given out twice, even if everything was trimmed; an empty fence expects 0.
pub(super) async fn numbers_go_on_after_everything_is_gone(bus: Arc<dyn Bus>) -> Result<()> {
    let fence = fence(Stream::Dlq, "dlq.normalizer.c1-0", "dlq.normalizer.c1-0")?;
    let last = fill(bus.as_ref(), &fence, 0, 0..5).await?;
    same(bus.trim(Stream::Dlq, Sequence::MAX, &[]).await?, last + 1)?;
    let info = bus.info(Stream::Dlq).await?;
    same((info.messages, info.bytes, info.first, info.last), (0, 0, last + 1, last))?;
    same(bus.append(&fence, 0, outgoing("5", "x")).await?, last + 1)
}

async fn register_lane(bus: &dyn Bus, lane: &str) -> Result<()> {
    bus.bucket("lanes").await?.put(lane, Bytes::from_static(b"{}"), 0, None).await?;
    Ok(())
}

fn readers(names: &[&str], yields: bool) -> Vec<TrimReader> {
    names.iter().map(|name| TrimReader { name: (*name).to_owned(), yields }).collect()
}

async fn trim_all(trimmer: &Trimmer) -> Result<Trimmed> {
    loop {
        let trimmed = trimmer.step().await?;
        if !trimmed.more {
            return Ok(trimmed);
        }
    }
}

async fn set_floor(bus: &dyn Bus, stream: Stream, reader: &str, scope: &str, sequence: Sequence) -> Result<()> {
    let position = Position { incarnation: bus.info(stream).await?.incarnation, sequence, id: String::new() };
    let mut entry = Floors::open(bus).await?.hold(stream, reader, scope).await?;
    entry.set(Floor { position, books: Books::default() }).await?;
    Ok(())
}

/// The trimmer goes up to the lowest floor of the readers that have something left to read, and no further.
pub(super) async fn trimmer_waits_for_floors(bus: Arc<dyn Bus>) -> Result<()> {
    let lane: LaneId = "c1-0".parse().map_err(anyhow::Error::msg)?;
    register_lane(bus.as_ref(), lane.as_str()).await?;
    let mut writer = FencedWriter::resume(Arc::clone(&bus), OutputLane::evt(&lane)).await?;
    for sequence in 1..=8 {
        let subject = format!("evt.{}.c1-0.dns_activity", sequence % 2);
        writer.write(position(sequence), vec![part(&subject, &format!("{sequence}"))?], Books::default()).await?;
    }
    let trimmer = Trimmer::open(Arc::clone(&bus), Stream::Evt, readers(&["archive", "hot"], false), 0).await?;
    same(trim_all(&trimmer).await?.first, 1)?;
    for (reader, scope, sequence) in [("archive", "0", 8), ("archive", "1", 7), ("hot", "0", 4), ("hot", "1", 5)] {
        set_floor(bus.as_ref(), Stream::Evt, reader, scope, sequence).await?;
    }
    same(trim_all(&trimmer).await?.first, 5)?;
    // Partition 1 is read to its end by both: only partition 0 holds back. The newest under the fence stays.
    set_floor(bus.as_ref(), Stream::Evt, "hot", "1", 7).await?;
    set_floor(bus.as_ref(), Stream::Evt, "hot", "0", 6).await?;
    same(trim_all(&trimmer).await?.first, 7)?;
    set_floor(bus.as_ref(), Stream::Evt, "hot", "0", 8).await?;
    same(trim_all(&trimmer).await?.first, 9)?;
    let info = bus.info(Stream::Evt).await?;
    // The newest of each chain stays, for the writer that resumes.
    same(info.messages, 2)
}

/// Output of a position that has no end yet stays: whoever completes it must see what is there.
pub(super) async fn trimmer_spares_half_written_positions(bus: Arc<dyn Bus>) -> Result<()> {
    register_lane(bus.as_ref(), "c1-0").await?;
    let fence = fence(Stream::Evt, "evt.0.c1-0.dns_activity", "evt.*.c1-0.>")?;
    let mut last = 0;
    for (covers, end) in [(1, true), (2, false), (2, false), (2, false)] {
        let mut message = outgoing(&format!("{covers}.{last}"), "x");
        message.headers.covers = Some(position(covers));
        (message.headers.end, message.headers.predecessor) = (end, last);
        last = bus.append(&fence, last, message).await?;
    }
    let trimmer = Trimmer::open(Arc::clone(&bus), Stream::Evt, readers(&["archive"], false), 0).await?;
    set_floor(bus.as_ref(), Stream::Evt, "archive", "0", last).await?;
    same(trim_all(&trimmer).await?.first, 2)
}

/// Of a nearly full stream a reader that can be rebuilt loses what it has not read, and it is recorded.
pub(super) async fn yielding_readers_are_passed(bus: Arc<dyn Bus>) -> Result<()> {
    register_lane(bus.as_ref(), "c1-0").await?;
    let fence = fence(Stream::Evt, "evt.0.c1-0.dns_activity", "evt.*.c1-0.>")?;
    let mut last = 0;
    while let Ok(sequence) = bus.append(&fence, last, outgoing("x", vec![1; LARGE_BYTES])).await {
        last = sequence;
    }
    let wanted = [readers(&["archive"], false), readers(&["hot"], true)].concat();
    let trimmer = Trimmer::open(Arc::clone(&bus), Stream::Evt, wanted, 0).await?;
    set_floor(bus.as_ref(), Stream::Evt, "hot", "0", 1).await?;
    set_floor(bus.as_ref(), Stream::Evt, "archive", "0", 3).await?;
    same(trim_all(&trimmer).await?.first, 4)?;
    let gaps = bus.bucket("gaps").await?.list("EVT.hot.").await?;
    let gap: serde_json::Value = serde_json::from_slice(&gaps.first().context("no gap is recorded")?.value)?;
    same((gaps[0].key.as_str(), gap["from"].as_u64(), gap["to"].as_u64()), ("EVT.hot.0", Some(2), Some(3)))
}
