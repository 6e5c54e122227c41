//! The fenced writer over the adapter.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use atalaya_model::{Books, Counts, LaneId, LedgerKey};
use bytes::Bytes;

use super::{LARGE_BYTES, SILENCE, filter, next, outgoing, same, subject};
use crate::{
    AppendError, Bus, ChainCheck, FencedWriter, Headers, Kind, Message, OutputLane, Part, Position, Reader, Sequence,
    Stream, WriteError,
};

/// A position in some input.
pub(super) fn position(sequence: Sequence) -> Position {
    Position { incarnation: 1, sequence, id: format!("in.{sequence}") }
}

pub(super) fn part(on: &str, id: &str) -> Result<Part> {
    let headers = Headers { id: id.to_owned(), rows: 1, ..Headers::default() };
    Ok(Part { subject: subject(on)?, headers, body: Bytes::from(id.to_owned()), decoded: None })
}

fn lane() -> Result<LaneId> {
    "c1-0".parse().map_err(anyhow::Error::msg)
}

async fn evt(bus: &Arc<dyn Bus>) -> Result<FencedWriter> {
    Ok(FencedWriter::resume(Arc::clone(bus), OutputLane::evt(&lane()?)).await?)
}

fn counted(normalized: u64) -> Books {
    let mut books = Books::default();
    let key = LedgerKey { source: "zeek".into(), tenant: "default".into(), domain: "live".into() };
    books.add(&key, Counts { normalized, ..Counts::default() });
    books
}

async fn all(bus: &dyn Bus, stream: Stream) -> Result<Vec<Message>> {
    let first = bus.info(stream).await?.first;
    let mut reader = bus.read(stream, &filter(">")?, first.saturating_sub(1)).await?;
    let mut messages = Vec::new();
    while let Some(message) = reader.try_next().await? {
        messages.push(message);
    }
    Ok(messages)
}

/// A writer learns its position from its own output.
pub(super) async fn resume_from_the_last_output(bus: Arc<dyn Bus>) -> Result<()> {
    let mut writer = evt(&bus).await?;
    same((writer.position(), writer.last()), (None, 0))?;
    for sequence in 1..=3 {
        let parts =
            vec![part("evt.0.c1-0.a", &format!("{sequence}.a"))?, part("evt.1.c1-0.b", &format!("{sequence}.b"))?];
        writer.write(position(sequence), parts, Books::default()).await?;
        let resumed = evt(&bus).await?;
        same(resumed.position(), Some(&position(sequence)))?;
        same((resumed.last(), resumed.unfinished().is_none()), (writer.last(), true))?;
    }
    let messages = all(bus.as_ref(), Stream::Evt).await?;
    let ends: Vec<_> = messages.iter().map(|message| message.headers.end).collect();
    same(ends, vec![false, true, false, true, false, true])?;
    let predecessors: Vec<_> = messages.iter().map(|message| message.headers.predecessor).collect();
    same(predecessors, std::iter::once(0).chain(messages.iter().map(|m| m.sequence)).take(6).collect())
}

/// What a crash left half written is found, and completed without what is stored.
pub(super) async fn half_written_output_is_completed(bus: Arc<dyn Bus>) -> Result<()> {
    let mut writer = evt(&bus).await?;
    writer.write(position(1), vec![part("evt.0.c1-0.a", "1")?], Books::default()).await?;
    let fence = OutputLane::evt(&lane()?).fence(subject("evt.2.c1-0.a")?).context("fence")?;
    let mut last = writer.last();
    for id in ["2.0", "2.1"] {
        let mut half = outgoing(id, id);
        half.headers.covers = Some(position(2));
        (half.headers.end, half.headers.predecessor) = (false, last);
        last = bus.append(&fence, last, half).await?;
    }
    let mut writer = evt(&bus).await?;
    same(writer.position(), Some(&position(1)))?;
    let unfinished = writer.unfinished().context("nothing unfinished")?;
    same(&unfinished.position, &position(2))?;
    let stored: Vec<_> = unfinished.stored.iter().map(|message| message.headers.id.clone()).collect();
    same(stored, ["2.0", "2.1"].map(String::from).to_vec())?;
    let early = writer.write(position(3), vec![part("evt.0.c1-0.a", "3")?], Books::default()).await;
    ensure!(matches!(early, Err(WriteError::Refused(_))), "{early:?}");
    writer.write(position(2), vec![part("evt.0.c1-0.a", "2.2")?], counted(3)).await?;
    writer.write(position(3), vec![part("evt.0.c1-0.a", "3")?], Books::default()).await?;
    let ids: Vec<_> = all(bus.as_ref(), Stream::Evt).await?.iter().map(|message| message.headers.id.clone()).collect();
    same(ids, ["1", "2.0", "2.1", "2.2", "3"].map(String::from).to_vec())?;
    same(evt(&bus).await?.position(), Some(&position(3)))
}

/// As before, with nothing left to write (a mark ends it), and with the position before trimmed.
pub(super) async fn half_written_after_a_trim(bus: Arc<dyn Bus>) -> Result<()> {
    let mut writer = evt(&bus).await?;
    writer.write(position(6), vec![part("evt.0.c1-0.a", "6")?], Books::default()).await?;
    let fence = OutputLane::evt(&lane()?).fence(subject("evt.2.c1-0.a")?).context("fence")?;
    let mut half = outgoing("8.0", "x");
    half.headers.covers = Some(position(8));
    (half.headers.end, half.headers.predecessor) = (false, writer.last());
    let last = bus.append(&fence, writer.last(), half).await?;
    bus.trim(Stream::Evt, last, &[filter("evt.*.c1-0.>")?]).await?;
    let mut writer = evt(&bus).await?;
    same(writer.position().map(|position| position.sequence), Some(7))?;
    same(writer.unfinished().map(|unfinished| unfinished.stored.len()), Some(1))?;
    writer.write(position(8), Vec::new(), counted(2)).await?;
    ensure!(writer.unfinished().is_none());
    let messages = all(bus.as_ref(), Stream::Evt).await?;
    let end = messages.last().context("nothing there")?;
    same((end.headers.kind, end.headers.end, end.subject.as_str()), (Kind::Mark, true, "evt.0.c1-0.mark"))?;
    same((&end.headers.books, end.headers.predecessor), (&counted(2), last))?;
    same(evt(&bus).await?.position(), Some(&position(8)))
}

/// Of two writers the one that comes too late is refused, and what it wrote is not there.
pub(super) async fn stale_writer_is_fenced(bus: Arc<dyn Bus>) -> Result<()> {
    let (mut old, mut new) = (evt(&bus).await?, evt(&bus).await?);
    new.write(position(1), vec![part("evt.0.c1-0.a", "new")?], Books::default()).await?;
    new.write(position(2), vec![part("evt.0.c1-0.a", "newer")?], Books::default()).await?;
    let stale = old.write(position(1), vec![part("evt.3.c1-0.a", "old")?], Books::default()).await;
    ensure!(matches!(stale, Err(WriteError::Fenced { .. })), "{stale:?}");
    let after = old.write(position(2), vec![part("evt.3.c1-0.a", "old")?], Books::default()).await;
    ensure!(matches!(after, Err(WriteError::Refused(_))), "{after:?}");
    same(all(bus.as_ref(), Stream::Evt).await?.len(), 2)?;
    let foreign = new.write(position(3), vec![part("evt.0.c1-1.a", "x")?], Books::default()).await;
    ensure!(matches!(foreign, Err(WriteError::Refused(_))), "{foreign:?}");
    Ok(())
}

/// Positions without output become a mark at the next flush, or ride on the next output.
pub(super) async fn passes_become_marks(bus: Arc<dyn Bus>) -> Result<()> {
    let mut writer = evt(&bus).await?;
    writer.write(position(1), Vec::new(), counted(1)).await?;
    writer.pass(position(2), counted(1));
    same(writer.position(), Some(&position(2)))?;
    same(bus.info(Stream::Evt).await?.messages, 0)?;
    writer.flush().await?;
    writer.flush().await?;
    same(bus.info(Stream::Evt).await?.messages, 1)?;
    same(evt(&bus).await?.position(), Some(&position(2)))?;
    writer.pass(position(3), counted(1));
    writer.write(position(4), vec![part("evt.0.c1-0.a", "4")?], counted(1)).await?;
    let messages = all(bus.as_ref(), Stream::Evt).await?;
    let books: Vec<_> = messages.iter().map(|message| message.headers.books.clone()).collect();
    same(books, vec![counted(2), counted(2)])?;
    same(messages[1].headers.covers.as_ref(), Some(&position(4)))
}

/// Whatever is counted is written once, wherever the parts are cut.
pub(super) async fn books_are_written_once(bus: Arc<dyn Bus>) -> Result<()> {
    let mut writer = evt(&bus).await?;
    let mut sequence = 0;
    for parts in [0, 2, 0, 0, 3, 1, 0, 1] {
        sequence += 1;
        let parts = (0..parts).map(|n| part("evt.1.c1-0.a", &format!("{sequence}.{n}"))).collect::<Result<_>>()?;
        writer.write(position(sequence), parts, counted(10)).await?;
    }
    writer.flush().await?;
    let mut sum = Books::default();
    all(bus.as_ref(), Stream::Evt).await?.iter().for_each(|message| sum.merge(&message.headers.books));
    same(sum.total(|_| true).normalized, 80)?;
    same(evt(&bus).await?.position(), Some(&position(sequence)))
}

/// Each message names the one before it that the same readers see, also after a resume.
pub(super) async fn chains_have_no_holes(bus: Arc<dyn Bus>) -> Result<()> {
    for sequence in 1..=12 {
        let mut writer = evt(&bus).await?;
        let parts = (0..sequence % 4).map(|n| part(&format!("evt.{n}.c1-0.a"), &format!("{sequence}.{n}")));
        writer.write(position(sequence), parts.collect::<Result<_>>()?, Books::default()).await?;
        writer.flush().await?;
    }
    for wanted in [">", "evt.0.>", "evt.2.>", "evt.3.*.>"] {
        let mut reader: Box<dyn Reader> = bus.read(Stream::Evt, &filter(wanted)?, 0).await?;
        let mut check = ChainCheck::new(0);
        while let Some(message) = reader.try_next().await? {
            check.check(&message)?;
        }
    }
    let mut check = ChainCheck::new(0);
    let mut messages = all(bus.as_ref(), Stream::Evt).await?;
    let in_zero = messages.iter().position(|m| m.subject.token(1) == Some("0")).context("nothing in partition 0")?;
    messages.remove(in_zero);
    ensure!(messages.iter().any(|message| check.check(message).is_err()), "a missing message is not noticed");
    Ok(())
}

/// A position is covered once.
pub(super) async fn order_is_checked(bus: Arc<dyn Bus>) -> Result<()> {
    let mut writer = evt(&bus).await?;
    writer.write(position(5), vec![part("evt.0.c1-0.a", "5")?], Books::default()).await?;
    for covered in [4, 5] {
        let again = writer.write(position(covered), vec![part("evt.0.c1-0.a", "x")?], Books::default()).await;
        ensure!(matches!(again, Err(WriteError::Refused(_))), "{covered}: {again:?}");
    }
    writer.write(position(6), vec![part("evt.0.c1-0.a", "6")?], Books::default()).await?;
    let next_stream = Position { incarnation: 2, sequence: 1, id: "other".to_owned() };
    writer.write(next_stream, vec![part("evt.0.c1-0.a", "7")?], Books::default()).await?;
    same(bus.info(Stream::Evt).await?.messages, 3)
}

/// A full stream is waited for; the write goes through once there is room.
pub(super) async fn a_full_stream_is_waited_for(bus: Arc<dyn Bus>) -> Result<()> {
    let mut writer = evt(&bus).await?;
    let large = |sequence: Sequence| -> Result<Part> {
        let mut part = part("evt.0.c1-0.a", &format!("{sequence}"))?;
        part.body = vec![3; LARGE_BYTES].into();
        Ok(part)
    };
    let mut reader = bus.read(Stream::Evt, &filter(">")?, 0).await?;
    let mut sequence = 1;
    while tokio::time::timeout(10 * SILENCE, writer.write(position(sequence), vec![large(sequence)?], Books::default()))
        .await
        .map_or(Ok(false), |written| written.map(|()| true))?
    {
        next(reader.as_mut()).await?;
        sequence += 1;
        ensure!(sequence < 100, "never full");
    }
    let mut writer = evt(&bus).await?;
    let written = writer.write(position(sequence), vec![large(sequence)?], Books::default());
    let trimmed = async {
        tokio::time::sleep(SILENCE).await;
        bus.trim(Stream::Evt, 5, &[filter("evt.*.c1-0.>")?]).await.map_err(anyhow::Error::from)
    };
    let (written, trimmed) = tokio::join!(tokio::time::timeout(Duration::from_secs(20), written), trimmed);
    written??;
    trimmed?;
    same(next(reader.as_mut()).await?.headers.id.clone(), sequence.to_string())?;
    let fence = OutputLane::evt(&lane()?).fence(subject("evt.0.c1-0.a")?).context("fence")?;
    let stale = bus.append(&fence, 1, outgoing("x", "x")).await;
    ensure!(matches!(stale, Err(AppendError::Fenced { .. })), "{stale:?}");
    Ok(())
}
