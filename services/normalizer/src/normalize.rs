//! The core: one RAW message → events, parked records and counts. Pure: the same message, mappings and enrichment give
//! the same output, whatever came before.

use std::sync::Arc;

use arrow::array::RecordBatch;
use atalaya_model::{Class, DEFAULT_TENANT, EventId, LIVE_DOMAIN, Origin, SHARED, Tenant, partition_of};
use atalaya_proto::dlq_v1::Parked;
use atalaya_proto::raw::RawBody;
use atalaya_proto::raw_v1::RawHeader;
use atalaya_schema::{ASSIGNED, BatchError, EventBatch, Rows, col, from_ocsf, ocsf_class};

use crate::fill::{EventTime, Filler};
use crate::formats::{Fault, ocsf};
use crate::keys::Keys;
use crate::mapping::{Mappings, Plan};
use crate::owners::{Claim, Ownership};
use crate::park::Lot;
use crate::reader::Reader;
use crate::record::{Record, Text};
use crate::shield::{self, Shield};
use crate::time::push_unsigned;

/// `severity_id` of what no mapping grades: informational.
const INFORMATIONAL: i32 = 1;

/// What is added to events that their records do not say; every part has a version. A stored message is never enriched
/// again.
#[derive(Clone, Debug, Default)]
pub struct Enrichment {
    /// Whose addresses and names are.
    pub ownership: Ownership,
}

impl Enrichment {
    /// The versions of the data, `name=version` joined by `,`; empty without data.
    #[must_use]
    pub fn versions(&self) -> String {
        if self.ownership.is_empty() { String::new() } else { format!("owners={}", self.ownership.version()) }
    }
}

/// What became of a message's records: `normalized + parked + dropped` is how many there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordCounts {
    /// Became events.
    pub normalized: u64,
    /// Are parked.
    pub parked: u64,
    /// Were dropped: blank lines and comments, and what no budget for parked records is left for.
    pub dropped: u64,
}

/// The events of one class for one partition.
#[derive(Clone, Debug)]
pub struct PartitionEvents {
    /// The partition.
    pub partition: u16,
    /// The events; to be cut to a message's limits.
    pub events: EventBatch,
}

/// A message's outcome.
#[derive(Clone, Debug, Default)]
pub struct Normalized {
    /// Events by partition, then class.
    pub events: Vec<PartitionEvents>,
    /// Records that no mapping can read.
    pub parked: Vec<Parked>,
    /// Counts.
    pub counts: RecordCounts,
}

/// A message that cannot be normalised as a whole; it says so because something is wrong with the platform, not with
/// its records.
#[derive(Debug, thiserror::Error)]
pub enum NormalizeError {
    /// The header's lane is none.
    #[error("header of a RAW message: {0}")]
    Lane(String),
    /// The header's tenant is none.
    #[error("header of a RAW message: {0}")]
    Tenant(#[from] atalaya_model::ParseTenantError),
    /// The rows do not fit together.
    #[error("events cannot be put together: {0}")]
    Batch(#[from] BatchError),
}

/// The core with its memory: what it keeps between messages makes it faster and changes nothing.
pub struct Normalizer {
    mappings: Arc<Mappings>,
    enrichment: Arc<Enrichment>,
    partitions: u16,
    keys: Vec<Keys>,
    filler: Filler,
    /// By partition and class.
    open: Vec<Option<Open>>,
    raw_ref: String,
}

/// Rows being filled.
struct Open {
    rows: Rows,
    times: Vec<EventTime>,
    /// Whether a row was begun since the last batch, even if it was taken back.
    begun: bool,
}

/// What all records of a message share.
struct Arrival<'a> {
    header: &'a RawHeader,
    origin: Origin,
    raw_id: String,
    /// None for a shared source.
    owner: Option<(Tenant, u16)>,
}

impl<'a> Arrival<'a> {
    fn new(header: &'a RawHeader, partitions: u16) -> Result<Self, NormalizeError> {
        let lane = header.collector_lane.parse().map_err(NormalizeError::Lane)?;
        let origin = Origin { lane, epoch_ms: header.epoch_ms, offset: header.offset };
        let owner = if header.tenant == SHARED {
            None
        } else {
            let tenant: Tenant = header.tenant.parse()?;
            let partition = partition_of(tenant.as_str(), 0, partitions);
            Some((tenant, partition))
        };
        Ok(Self { header, raw_id: origin.message_id(), origin, owner })
    }
}

/// Who owns a record and its endpoints.
struct Owners<'o> {
    tenant: Tenant,
    partition: u16,
    src: Claim<'o>,
    dst: Claim<'o>,
}

/// Normalises one message with nothing remembered.
///
/// # Errors
/// See [`NormalizeError`].
pub fn normalize(
    raw: &RawBody,
    mappings: &Arc<Mappings>,
    enrichment: &Arc<Enrichment>,
    partitions: u16,
) -> Result<Normalized, NormalizeError> {
    Normalizer::new(Arc::clone(mappings), Arc::clone(enrichment), partitions).normalize(raw)
}

impl Normalizer {
    /// A core for a bus with this many partitions.
    #[must_use]
    pub fn new(mappings: Arc<Mappings>, enrichment: Arc<Enrichment>, partitions: u16) -> Self {
        let keys = mappings.plans().iter().map(Keys::new).collect();
        let places = usize::from(partitions) * Class::ALL.len();
        let open = std::iter::repeat_with(|| None).take(places).collect();
        Self { mappings, enrichment, partitions, keys, filler: Filler::default(), open, raw_ref: String::new() }
    }

    /// The enrichment in use.
    #[must_use]
    pub fn enrichment(&self) -> &Enrichment {
        &self.enrichment
    }

    /// Normalises one message.
    ///
    /// # Errors
    /// See [`NormalizeError`].
    pub fn normalize(&mut self, raw: &RawBody) -> Result<Normalized, NormalizeError> {
        let reader = Reader::new(&raw.header, &self.mappings);
        let mut work = Work {
            arrival: Arrival::new(&raw.header, self.partitions)?,
            plans: self.mappings.plans(),
            ownership: &self.enrichment.ownership,
            partitions: self.partitions,
            keys: &mut self.keys,
            filler: &mut self.filler,
            sheet: Sheet { open: &mut self.open, raw_ref: &mut self.raw_ref },
        };
        work.sheet.begin(&work.arrival.raw_id);
        let (mut record, mut lot, mut counts) = (Record::default(), Lot::default(), RecordCounts::default());
        for (ordinal, bytes) in raw.records().enumerate() {
            match work.record(&reader, ordinal, bytes, &mut record) {
                Ok(true) => counts.normalized += 1,
                Ok(false) => counts.dropped += 1,
                Err(fault) => lot.add(raw, &work.arrival.raw_id, ordinal, bytes, fault),
            }
        }
        counts.parked = lot.parked.len() as u64;
        counts.dropped += lot.dropped;
        Ok(Normalized { events: work.finish()?, parked: lot.parked, counts })
    }
}

/// One message being worked on.
struct Work<'w> {
    arrival: Arrival<'w>,
    plans: &'w [Plan],
    ownership: &'w Ownership,
    partitions: u16,
    keys: &'w mut [Keys],
    filler: &'w mut Filler,
    sheet: Sheet<'w>,
}

/// Where the rows of a message are written.
struct Sheet<'w> {
    open: &'w mut [Option<Open>],
    raw_ref: &'w mut String,
}

impl Sheet<'_> {
    fn begin(&mut self, raw_id: &str) {
        // An error may have left rows of another message.
        self.open.iter_mut().flatten().for_each(|open| {
            open.finish();
        });
        self.raw_ref.clear();
        self.raw_ref.push_str(raw_id);
        self.raw_ref.push('#');
    }

    /// A row with what the platform knows of a record.
    fn row(&mut self, arrival: &Arrival<'_>, ordinal: usize, class: Class, owners: &Owners<'_>) -> &mut Open {
        self.raw_ref.truncate(arrival.raw_id.len() + 1);
        push_unsigned(ordinal as u64, self.raw_ref);
        let id = arrival.origin.event_id(u32::try_from(ordinal).unwrap_or(u32::MAX), 0);
        let open = place(self.open, owners.partition, class);
        open.rows.begin();
        open.begun = true;
        set_envelope(&mut open.rows, arrival, &owners.tenant, &id, self.raw_ref);
        set_owners(&mut open.rows, class, owners);
        open
    }
}

impl<'w> Work<'w> {
    /// One record; false if there is nothing in it.
    fn record<'a>(
        &mut self,
        reader: &Reader<'a>,
        ordinal: usize,
        bytes: &'a [u8],
        record: &mut Record<'a>,
    ) -> Result<bool, Fault> {
        let Some(text) = reader.text(bytes)? else { return Ok(false) };
        if reader.is_ocsf() {
            self.ocsf(ordinal, text)?;
            return Ok(true);
        }
        record.clear();
        reader.read(text, record)?;
        let (log, at) = reader.log(record)?;
        let plan = &self.plans[at];
        let roles = self.filler.resolve(record, &mut self.keys[at], plan);
        let time = self.filler.time(record, &roles, plan)?;
        let claim = |address: Option<Text<'a>>| {
            address.map_or(Claim::Nobody, |address| self.ownership.of_address(record.str(address)))
        };
        let names = roles.domains.iter().flatten().map(|&name| record.str(name));
        let owners = self.owners(claim(roles.src), claim(roles.dst), names);
        let open = self.sheet.row(&self.arrival, ordinal, plan.class, &owners);
        let rows = &mut open.rows;
        set_log(rows, plan, log);
        rows.time(col::TIME, time.us(self.arrival.header));
        if let Err(fault) = self.filler.fill(record, &roles, time, &self.keys[at], plan, rows) {
            rows.discard();
            return Err(fault);
        }
        open.end(time);
        Ok(true)
    }

    fn ocsf(&mut self, ordinal: usize, text: &str) -> Result<(), Fault> {
        let event = ocsf::read(text)?;
        let us = ocsf::time_us(&event)?;
        let claim = |path| ocsf::text_at(&event, path).map_or(Claim::Nobody, |text| self.ownership.of_address(text));
        let owners = self.owners(claim("/src_endpoint/ip"), claim("/dst_endpoint/ip"), ocsf::names(&event));
        let open = self.sheet.row(&self.arrival, ordinal, ocsf_class(&event), &owners);
        open.rows.text(col::PARSER_VERSION, ocsf::PARSER_VERSION);
        open.rows.time(col::TIME, us);
        from_ocsf(&event, &mut open.rows, ASSIGNED);
        open.end(EventTime::Told(us));
        Ok(())
    }

    fn owners<'n>(&self, src: Claim<'w>, dst: Claim<'w>, names: impl Iterator<Item = &'n str>) -> Owners<'w> {
        let (tenant, partition) = match &self.arrival.owner {
            Some((tenant, partition)) => (tenant.clone(), *partition),
            None => {
                let tenant = self.ownership.of_event(&[src, dst], names).cloned().unwrap_or_default();
                let partition = partition_of(tenant.as_str(), 0, self.partitions);
                (tenant, partition)
            }
        };
        Owners { tenant, partition, src, dst }
    }

    /// Every open batch, shielded and sorted.
    fn finish(&mut self) -> Result<Vec<PartitionEvents>, NormalizeError> {
        let told = |open: &Open| open.times.iter().filter_map(|time| time.told()).collect::<Vec<_>>();
        let mut times: Vec<_> = self.sheet.open.iter().flatten().flat_map(told).collect();
        let header = self.arrival.header;
        let shield = Shield::new(&mut times, header.received_time_us, header.domain == LIVE_DOMAIN);
        let mut events = Vec::new();
        for (at, open) in self.sheet.open.iter_mut().enumerate() {
            let Some((mut rows, times)) = open.as_mut().and_then(Open::finish) else { continue };
            let class = Class::ALL[at % Class::ALL.len()];
            let verdict = |time: &EventTime| time.told().map_or(Some(shield::RECEIVED), |us| shield.verdict(us));
            let marks: Vec<_> =
                times.iter().enumerate().filter_map(|(row, time)| Some((row, verdict(time)?))).collect();
            if !marks.is_empty() {
                rows = shield::mark(&rows, &marks).map_err(BatchError::from)?;
            }
            let partition = u16::try_from(at / Class::ALL.len()).unwrap_or(u16::MAX);
            events.push(PartitionEvents { partition, events: EventBatch::new(class, rows)? });
        }
        Ok(events)
    }
}

impl Open {
    fn end(&mut self, time: EventTime) {
        // Where the record did not grade it.
        self.rows.int32(col::SEVERITY_ID, INFORMATIONAL);
        self.rows.end();
        self.times.push(time);
    }

    /// The rows so far, with their times; none if there are none.
    fn finish(&mut self) -> Option<(RecordBatch, Vec<EventTime>)> {
        if !std::mem::take(&mut self.begun) {
            return None;
        }
        let (rows, times) = (self.rows.finish(), std::mem::take(&mut self.times));
        (!times.is_empty()).then_some((rows, times))
    }
}

/// The rows of a partition and class.
fn place(open: &mut [Option<Open>], partition: u16, class: Class) -> &mut Open {
    let at = usize::from(partition) * Class::ALL.len() + class as usize;
    open[at].get_or_insert_with(|| Open { rows: Rows::new(class), times: Vec::new(), begun: false })
}

/// What the platform knows of every event.
fn set_envelope(rows: &mut Rows, arrival: &Arrival<'_>, tenant: &Tenant, id: &EventId, raw_ref: &str) {
    rows.id(col::EVENT_ID, id.as_bytes());
    rows.text(col::TENANT, tenant.as_str());
    rows.time(col::INGEST_TIME, arrival.header.received_time_us);
    rows.int32(col::CLASS_UID, rows.class().uid());
    rows.text(col::SOURCE, &arrival.header.source);
    rows.text(col::RAW_REF, raw_ref);
}

fn set_log(rows: &mut Rows, plan: &Plan, log: Option<&str>) {
    for (column, value) in [(col::VENDOR, plan.vendor.as_deref()), (col::PRODUCT, plan.product.as_deref())] {
        if let Some(value) = value {
            rows.text(column, value);
        }
    }
    if let Some(log) = log {
        rows.text(col::LOG_NAME, log);
    }
    rows.text(col::PARSER_VERSION, &plan.version);
}

/// Names an endpoint's owner where it is the row's tenant; who else owns what is told only to whom the row belongs to
/// nobody in particular.
fn set_owners(rows: &mut Rows, class: Class, owners: &Owners<'_>) {
    if !col::has_endpoints(class) {
        return;
    }
    for (column, claim) in [(col::endpoint::SRC_OWNER, owners.src), (col::endpoint::DST_OWNER, owners.dst)] {
        if let Claim::One(owner) = claim
            && (*owner == owners.tenant || owners.tenant.as_str() == DEFAULT_TENANT)
        {
            rows.text(column, owner.as_str());
        }
    }
}
