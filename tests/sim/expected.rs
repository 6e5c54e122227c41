//! What the stores must hold: a pure pass over the input, compared with everything that can be read.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, ensure};
use arrow::array::AsArray;
use atalaya_archive::Archive;
use atalaya_bus::Stream;
use atalaya_hot::{Lookup, LookupKind};
use atalaya_model::{Class, Tenant};
use atalaya_normalizer::Enrichment;
use atalaya_proto::dlq_v1::ParkedRecords;
use atalaya_schema::col;
use atalaya_tests::events::{self, Id, same};
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use prost::Message as _;

use crate::alerts;
use crate::input::Input;
use crate::world::{PARTITIONS, World};

/// Rows of a page of a lookup: less than there are, so that there are pages.
const PAGE_ROWS: usize = 100;

/// Event ids and parked records.
pub(crate) struct Expected(events::Expected);

/// What an input must become.
pub(crate) fn of(input: &Input) -> anyhow::Result<Expected> {
    let bodies = input.lanes.iter().flat_map(|lane| lane.bodies());
    let expected = events::Expected::of(bodies, &Arc::new(Enrichment::default()), PARTITIONS)?;
    ensure!(expected.count() as u64 == input.good, "{} good records gave {} events", input.good, expected.count());
    ensure!(expected.parked.len() as u64 == input.broken, "{} of {} are parked", expected.parked.len(), input.broken);
    Ok(Expected(expected))
}

impl Expected {
    /// Every table, rows as often as they are there.
    pub(crate) async fn check_archive(&self, world: &World) -> anyhow::Result<()> {
        let archive = Archive::over(Arc::clone(&world.archive))?;
        let findings = alerts::finding_ids(world).await?;
        for class in Class::ALL {
            let mut expected = self.0.ids(|_, own| own == class);
            if class == Class::DetectionFinding {
                expected.extend(findings.iter().cloned());
            }
            same(&format!("table {}", class.name()), expected, archived(&archive, class).await?)?;
        }
        Ok(())
    }

    /// Every tenant's events, page by page.
    pub(crate) async fn check_hot(&self, world: &World) -> anyhow::Result<()> {
        for tenant in self.0.tenants() {
            let expected = self.0.ids(|of, _| of == tenant);
            same(&format!("hot store, {tenant}"), expected, filed(world, tenant).await?)?;
        }
        Ok(())
    }

    /// Every parked record at least once: an entry may repeat, and one whose answer was lost may count as dropped.
    pub(crate) async fn check_parked(&self, world: &World) -> anyhow::Result<()> {
        let mut parked = BTreeSet::new();
        for message in world.all(Stream::Dlq, "dlq.>").await? {
            let records = ParkedRecords::decode(message.body.clone())?.records;
            parked.extend(records.into_iter().map(|parked| (parked.raw_id, parked.record)));
        }
        let foreign = parked.difference(&self.0.parked).count();
        ensure!(foreign == 0, "{foreign} records are parked that can be read");
        let counts = crate::books::records(world).await?;
        ensure!(
            counts.parked + counts.dropped == self.0.parked.len() as u64,
            "{} are broken: {counts:?}",
            self.0.parked.len()
        );
        ensure!(parked.len() as u64 >= counts.parked, "{} records in the DLQ, {} counted", parked.len(), counts.parked);
        Ok(())
    }
}

async fn archived(archive: &Archive, class: Class) -> anyhow::Result<Vec<Id>> {
    let mut found = Vec::new();
    let Some(snapshot) = archive.snapshot(class).await? else { return Ok(found) };
    for file in snapshot.files.iter() {
        let body = archive.store().get(&file.path).await?.bytes().await?;
        for batch in ParquetRecordBatchReaderBuilder::try_new(body)?.build()? {
            let batch = batch?;
            let ids = batch.column_by_name("event_id").context("a file without event_id")?.as_binary::<i32>();
            found.extend(ids.iter().flatten().map(<[u8]>::to_vec));
        }
    }
    Ok(found)
}

async fn filed(world: &World, tenant: &Tenant) -> anyhow::Result<Vec<Id>> {
    let (kind, limit, value) = (LookupKind::Tenant, PAGE_ROWS, String::new());
    let mut lookup = Lookup { tenant: tenant.clone(), kind, value, from_us: None, to_us: None, limit, token: None };
    let mut found = Vec::new();
    loop {
        let page = world.hot.lookup(&lookup).await?;
        for hit in &page.rows {
            let ids = hit.batch.column(col::EVENT_ID).as_binary::<i32>();
            found.push(ids.value(hit.row).to_vec());
        }
        if page.next.is_none() {
            return Ok(found);
        }
        lookup.token = page.next;
    }
}
