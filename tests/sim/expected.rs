//! What the stores must hold: a pure pass over the input, compared with everything that can be read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, ensure};
use arrow::array::{AsArray, RecordBatch};
use atalaya_archive::Archive;
use atalaya_bus::Stream;
use atalaya_hot::{Lookup, LookupKind};
use atalaya_model::{Class, Tenant};
use atalaya_normalizer::{Enrichment, Mappings, normalize};
use atalaya_proto::dlq_v1::ParkedRecords;
use atalaya_proto::raw::RawBody;
use atalaya_schema::col;
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use prost::Message as _;

use crate::alerts;
use crate::input::Input;
use crate::world::{PARTITIONS, World};

type Id = Vec<u8>;

/// Rows of a page of a lookup: less than there are, so that there are pages.
const PAGE_ROWS: usize = 100;

/// Event ids and parked records.
#[derive(Default)]
pub(crate) struct Expected {
    events: BTreeMap<(Tenant, Class), BTreeSet<Id>>,
    /// RAW message and ordinal of the record there.
    parked: BTreeSet<(String, u32)>,
}

/// What an input must become.
pub(crate) fn of(input: &Input) -> anyhow::Result<Expected> {
    static MAPPINGS: OnceLock<Arc<Mappings>> = OnceLock::new();
    let mappings = MAPPINGS.get_or_init(|| Arc::new(Mappings::built_in().unwrap()));
    let enrichment = Arc::new(Enrichment::default());
    let mut expected = Expected::default();
    for body in input.lanes.iter().flat_map(|lane| lane.bodies()) {
        let normalized = normalize(&RawBody::decode(body)?, mappings, &enrichment, PARTITIONS)?;
        for events in normalized.events.iter().map(|events| &events.events) {
            for (tenant, id) in tenants(&events.rows).into_iter().zip(ids(&events.rows)) {
                let new = expected.events.entry((tenant.parse()?, events.class)).or_default().insert(id);
                ensure!(new, "two events of the input have one id");
            }
        }
        expected.parked.extend(normalized.parked.into_iter().map(|parked| (parked.raw_id, parked.record)));
    }
    let events: usize = expected.events.values().map(BTreeSet::len).sum();
    ensure!(events as u64 == input.good, "{} good records gave {events} events", input.good);
    ensure!(expected.parked.len() as u64 == input.broken, "{} of {} are parked", expected.parked.len(), input.broken);
    Ok(expected)
}

impl Expected {
    /// Every table, rows as often as they are there.
    pub(crate) async fn check_archive(&self, world: &World) -> anyhow::Result<()> {
        let archive = Archive::over(Arc::clone(&world.archive))?;
        let findings = alerts::finding_ids(world).await?;
        for class in Class::ALL {
            let mut expected: Vec<Id> =
                self.events.iter().filter(|((_, own), _)| *own == class).flat_map(|(_, ids)| ids.clone()).collect();
            if class == Class::DetectionFinding {
                expected.extend(findings.iter().cloned());
            }
            same(&format!("table {}", class.name()), expected, archived(&archive, class).await?)?;
        }
        Ok(())
    }

    /// Every tenant's events, page by page.
    pub(crate) async fn check_hot(&self, world: &World) -> anyhow::Result<()> {
        let tenants: BTreeSet<&Tenant> = self.events.keys().map(|(tenant, _)| tenant).collect();
        for tenant in tenants {
            let own = self.events.iter().filter(|((of, _), _)| of == tenant);
            let expected: Vec<Id> = own.flat_map(|(_, ids)| ids.clone()).collect();
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
        let foreign = parked.difference(&self.parked).count();
        ensure!(foreign == 0, "{foreign} records are parked that can be read");
        let counts = crate::books::records(world).await?;
        ensure!(
            counts.parked + counts.dropped == self.parked.len() as u64,
            "{} are broken: {counts:?}",
            self.parked.len()
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

/// Both hold the same, as often.
fn same(what: &str, mut expected: Vec<Id>, mut found: Vec<Id>) -> anyhow::Result<()> {
    expected.sort_unstable();
    found.sort_unstable();
    let rows = found.len();
    ensure!(
        expected == found,
        "{what}: {} expected, {rows} found, {} of them twice, {} missing",
        expected.len(),
        {
            let distinct: BTreeSet<&Id> = found.iter().collect();
            rows - distinct.len()
        },
        expected.iter().filter(|id| found.binary_search(id).is_err()).count()
    );
    Ok(())
}

pub(crate) fn ids(rows: &RecordBatch) -> Vec<Id> {
    rows.column(col::EVENT_ID).as_binary::<i32>().iter().flatten().map(<[u8]>::to_vec).collect()
}

fn tenants(rows: &RecordBatch) -> Vec<String> {
    let column = rows.column(col::TENANT).as_dictionary::<arrow::datatypes::Int32Type>();
    let names = column.downcast_dict::<arrow::array::StringArray>().unwrap();
    names.into_iter().map(|name| name.unwrap().to_owned()).collect()
}
