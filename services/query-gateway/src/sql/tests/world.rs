//! An archive with known rows of two tenants, and an engine over it.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::util::display::array_value_to_string;
use atalaya_archive::{Archive, Covered, Feed, Scope, StoredBatch};
use atalaya_model::{Class, EventId, Tenant};
use atalaya_schema::{EventBatch, Rows, col};
use futures::TryStreamExt;

use crate::sql::{Limits, QueryLimits, SqlAnswer, SqlEngine, SqlError};

pub(super) const CLASS: Class = Class::DnsActivity;
pub(super) const START_US: i64 = 1_795_478_400_000_000; // 2026-11-24T00:00:00Z
pub(super) const HOUR_US: i64 = 3_600_000_000;
pub(super) const FILES_PER_DAY: u64 = 4;
pub(super) const DAYS: u64 = 3;

/// A row as the tests know it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) tenant: &'static str,
    pub(super) time_us: i64,
    pub(super) query: String,
    pub(super) src_ip: String,
    pub(super) port: i32,
}

pub(super) struct World {
    pub(super) archive: Archive,
    pub(super) engine: SqlEngine,
    pub(super) rows: Vec<Known>,
}

pub(super) fn tenant(name: &str) -> Tenant {
    name.parse().unwrap()
}

pub(super) fn scope(partition: u16) -> Scope {
    Scope { feed: Feed::Evt, incarnation: 1, partition }
}

impl World {
    /// Twelve files: four a day, each of six hours; the last two of each day have rows of both tenants.
    pub(super) async fn new() -> Self {
        Self::with_limits(Limits { partitions: 2, ..Limits::default() }).await
    }

    pub(super) async fn with_limits(limits: Limits) -> Self {
        let archive = Archive::open("memory:").unwrap();
        let engine = SqlEngine::new(archive.clone(), limits).unwrap();
        let mut world = Self { archive, engine, rows: Vec::new() };
        for message in 0..DAYS * FILES_PER_DAY {
            let first_us = START_US + i64::try_from(message).unwrap() * 6 * HOUR_US;
            let rows = (0..60u32).map(|row| Known {
                tenant: if message % FILES_PER_DAY >= 2 && row % 3 == 0 { "globex" } else { "acme" },
                time_us: first_us + i64::from(row) * HOUR_US / 10,
                query: format!("host{}.example.com", (u64::from(row) + message) % 7),
                src_ip: format!("10.{}.0.{}", message % 3, row % 5),
                port: i32::try_from(row % 4).unwrap() + 53,
            });
            let rows: Vec<_> = rows.collect();
            world.append(message + 1, &rows).await;
        }
        world
    }

    pub(super) async fn append(&mut self, sequence: u64, known: &[Known]) {
        let mut rows = Rows::new(CLASS);
        for (at, row) in known.iter().enumerate() {
            rows.begin();
            rows.id(col::EVENT_ID, EventId::of("t", &[&sequence.to_le_bytes(), &at.to_le_bytes()]).as_bytes());
            rows.text(col::TENANT, row.tenant);
            rows.time(col::TIME, row.time_us);
            rows.text(col::dns::QUERY, &row.query);
            rows.text(col::dns::SRC_IP, &row.src_ip);
            rows.int32(col::dns::SRC_PORT, row.port);
            rows.texts(col::dns::ANSWERS, [row.query.as_str(), "x"].into_iter());
            rows.unmapped("secret", &format!("of {}", row.tenant));
            rows.end();
        }
        let events = Arc::new(EventBatch::new(CLASS, rows.finish()).unwrap());
        let batch = StoredBatch { scope: scope(0), sequence, events };
        self.archive.append(CLASS, &[batch], &[Covered { scope: scope(0), sequence }]).await.unwrap();
        self.rows.extend_from_slice(known);
    }

    pub(super) fn of(&self, tenant: &str) -> Vec<Known> {
        self.rows.iter().filter(|row| row.tenant == tenant).cloned().collect()
    }

    pub(super) async fn ask(&self, name: &str, sql: &str) -> Result<SqlAnswer, SqlError> {
        self.engine.query(&tenant(name), sql, QueryLimits::default()).await
    }

    /// Every row of an answer, each value as text.
    pub(super) async fn rows(&self, name: &str, sql: &str) -> Result<Vec<Vec<String>>, SqlError> {
        let answer = self.ask(name, sql).await?;
        let batches: Vec<_> = answer.stream.try_collect().await?;
        Ok(texts(&batches))
    }
}

pub(super) fn texts(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let of_row = |batch: &RecordBatch, row: usize| -> Vec<String> {
        let text = |column: &Arc<dyn Array>| array_value_to_string(column, row).unwrap();
        batch.columns().iter().map(text).collect()
    };
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| of_row(batch, row))).collect()
}
