//! Each stage's own work, alone on one thread: µs an event, and what an event weighs.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use atalaya_archive::{Archive, Covered, Feed, Scope, StoredBatch};
use atalaya_hot::FiledMessage;
use atalaya_model::{Class, DEFAULT_TENANT};
use atalaya_normalizer::{Enrichment, Mappings, Normalizer};
use atalaya_proto::raw::{Block, MAX_RECORDS_PER_MESSAGE, RawBody};
use atalaya_proto::raw_v1::{Entry, RawHeader};
use atalaya_schema::EventBatch;
use bytes::Bytes;

use crate::load::{Variant, bytes_below, line};

const PARTITIONS: u16 = 16;

/// Rows the archive commits at once.
const COMMIT_ROWS: usize = 250_000;

/// A stage's figures.
pub struct Stage {
    /// Its name.
    pub name: &'static str,
    /// Microseconds an event.
    pub us: f64,
    /// Bytes an event that it leaves behind, where it does.
    pub bytes: Option<f64>,
}

/// Every stage over `copies` copies of the sample.
pub async fn measure(sample: &[String], copies: usize, variant: Variant) -> anyhow::Result<Vec<Stage>> {
    let lines: Vec<String> = (0..copies)
        .flat_map(|copy| sample.iter().enumerate().map(move |(at, text)| (copy, at, text)))
        .map(|(copy, at, text)| line(text, copy, copy * sample.len() + at, variant))
        .collect();
    let events = lines.len() as f64;
    let mut stages = Vec::new();
    let mut stage = |name, began: Instant, bytes: Option<u64>| {
        let us = began.elapsed().as_secs_f64() * 1e6 / events;
        stages.push(Stage { name, us, bytes: bytes.map(|bytes| bytes as f64 / events) });
    };
    let began = Instant::now();
    let raw: Vec<Bytes> =
        lines.chunks(MAX_RECORDS_PER_MESSAGE).zip(1..).map(|(lines, at)| message(lines, at)).collect();
    stage("RAW message: frame, lz4", began, Some(raw.iter().map(|body| body.len() as u64).sum()));
    let mut normalizer = Normalizer::new(Arc::new(Mappings::built_in()?), Arc::new(Enrichment::default()), PARTITIONS);
    let began = Instant::now();
    let mut batches = Vec::new();
    for body in &raw {
        batches.extend(normalizer.normalize(&RawBody::decode(body)?)?.events.into_iter().map(|part| part.events));
    }
    stage("normalise: parse, map, fill", began, None);
    let began = Instant::now();
    let bodies: Vec<Bytes> = batches.iter().map(EventBatch::encode).collect();
    stage("EVT message: Arrow, lz4", began, Some(bodies.iter().map(|body| body.len() as u64).sum()));
    let began = Instant::now();
    for body in &bodies {
        EventBatch::decode(body)?;
    }
    stage("EVT message: decode (not in one process)", began, None);
    let place = tempfile::tempdir()?;
    let began = Instant::now();
    let hot = file(&place.path().join("hot"), &batches, &bodies).await?;
    stage("file in the hot store", began, Some(hot));
    let began = Instant::now();
    let archived = append(&batches).await?;
    stage("append to the archive", began, Some(archived));
    Ok(stages)
}

fn message(lines: &[String], offset: u64) -> Bytes {
    let mut block = Block::default();
    lines.iter().for_each(|line| block.push(line.as_bytes()));
    block.encode(RawHeader {
        collector_lane: "b-0".to_owned(),
        epoch_ms: 1,
        offset,
        entry: Entry::Records.into(),
        source: "bench".to_owned(),
        kind: "zeek".to_owned(),
        tenant: DEFAULT_TENANT.to_owned(),
        domain: "bench".to_owned(),
        received_time_us: 1_600_000_000_000_000,
        context: b"dns".to_vec(),
        ..RawHeader::default()
    })
}

async fn file(directory: &std::path::Path, batches: &[EventBatch], bodies: &[Bytes]) -> anyhow::Result<u64> {
    let hot = atalaya_hot::open(&format!("file:{}", directory.display())).await?;
    let messages: Vec<FiledMessage> = batches
        .iter()
        .zip(bodies)
        .zip(1..)
        .map(|((batch, body), sequence)| FiledMessage {
            partition: 0,
            sequence,
            id: format!("b-0.1.{sequence}/0"),
            raw_id: format!("b-0.1.{sequence}"),
            received_time_us: 1_600_000_000_000_000,
            body: body.clone(),
            batch: Arc::new(batch.clone()),
        })
        .collect();
    for messages in messages.chunks(64) {
        hot.file(messages).await?;
        hot.sync().await?;
    }
    Ok(bytes_below(directory))
}

async fn append(batches: &[EventBatch]) -> anyhow::Result<u64> {
    let place = tempfile::tempdir()?;
    let archive = Archive::open(&format!("file:{}", place.path().display())).context("archive")?;
    let scope = Scope { feed: Feed::Evt, incarnation: 1, partition: 0 };
    let stored: Vec<StoredBatch> = batches
        .iter()
        .zip(1..)
        .map(|(batch, sequence)| StoredBatch { scope, sequence, events: Arc::new(batch.clone()) })
        .collect();
    let mut bytes = 0;
    for stored in stored.chunks(COMMIT_ROWS / MAX_RECORDS_PER_MESSAGE) {
        let sequence = stored.last().map_or(0, |last| last.sequence);
        bytes += archive.append(Class::DnsActivity, stored, &[Covered { scope, sequence }]).await?.bytes;
    }
    Ok(bytes)
}
