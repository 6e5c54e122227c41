//! Normalised events and copied controls as messages of EVT; parked records as messages of the DLQ.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use atalaya_bus::{BusError, Headers, Kind, Message, Part, Subject, SubjectError, Unfinished};
use atalaya_model::{Books, Counts, LaneId, LedgerKey, SHARED, partition_of};
use atalaya_proto::dlq_v1::{Parked, ParkedRecords};
use atalaya_proto::raw_v1::RawHeader;
use atalaya_schema::{BatchError, EventBatch, MAX_BODY_BYTES, MAX_ROWS_PER_MESSAGE, batch_of, col};
use prost::Message as _;

use crate::normalize::{PartitionEvents, RecordCounts};
use crate::shield::believed_range;

/// Body of one DLQ message, bytes, before the record that goes beyond.
const MAX_DLQ_BODY_BYTES: usize = 256 << 10;

/// Events or controls that cannot become messages.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PartsError {
    #[error(transparent)]
    Subject(#[from] SubjectError),
    #[error("events cannot be put together: {0}")]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// What is stored already of a half-written position.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    events: HashSet<Vec<u8>>,
    ids: HashSet<String>,
    /// Messages by partition and last token of the subject.
    parts: HashMap<(String, String), usize>,
}

impl Stored {
    /// Reads it from the messages that are there.
    pub(crate) fn of(unfinished: &Unfinished) -> Result<Self, PartsError> {
        let mut stored = Self::default();
        for message in &unfinished.stored {
            stored.add(message)?;
        }
        Ok(stored)
    }

    fn add(&mut self, message: &Message) -> Result<(), PartsError> {
        let token = |index| message.subject.token(index).unwrap_or_default().to_owned();
        *self.parts.entry((token(1), token(3))).or_default() += 1;
        self.ids.insert(message.headers.id.clone());
        if message.headers.kind == Kind::Data {
            let batch = batch_of(message.decoded.as_ref(), &message.body).map_err(|error| BusError::Damaged {
                stream: message.stream,
                sequence: message.sequence,
                reason: error.to_string(),
            })?;
            let ids = batch.rows.column(col::EVENT_ID).as_binary::<i32>();
            self.events.extend(ids.iter().flatten().map(<[u8]>::to_vec));
        }
        Ok(())
    }

    /// The events that are not stored yet.
    fn missing(&self, events: EventBatch) -> Result<EventBatch, PartsError> {
        if self.events.is_empty() {
            return Ok(events);
        }
        let ids = events.rows.column(col::EVENT_ID).as_binary::<i32>();
        let missing: BooleanArray = ids.iter().map(|id| Some(id.is_none_or(|id| !self.events.contains(id)))).collect();
        let rows = filter_record_batch(&events.rows, &missing).map_err(BatchError::from)?;
        Ok(EventBatch::new(events.class, rows)?)
    }

    fn parts(&self, partition: u16, token: &str) -> usize {
        self.parts.get(&(partition.to_string(), token.to_owned())).copied().unwrap_or_default()
    }
}

/// A RAW message's header, name and trace, as its EVT messages need them.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) lane: LaneId,
    pub(crate) id: String,
    pub(crate) header: RawHeader,
    pub(crate) traceparent: Option<String>,
    pub(crate) enrichment: String,
}

impl Arrived {
    fn headers(&self) -> Headers {
        Headers {
            received_time_us: self.header.received_time_us,
            source: self.header.source.clone(),
            domain: self.header.domain.clone(),
            input: self.header.input,
            traceparent: self.traceparent.clone(),
            ..Headers::default()
        }
    }

    fn key(&self) -> LedgerKey {
        LedgerKey {
            source: self.header.source.clone(),
            tenant: self.header.tenant.clone(),
            domain: self.header.domain.clone(),
        }
    }

    /// The books of the position's records.
    pub(crate) fn books(&self, counts: RecordCounts) -> Books {
        let RecordCounts { normalized, parked, dropped } = counts;
        let mut books = Books::default();
        if counts != RecordCounts::default() {
            books.add(&self.key(), Counts { normalized, parked, dropped, ..Counts::default() });
        }
        books
    }

    fn subject(&self, partition: u16, token: &str) -> Result<Subject, SubjectError> {
        Subject::new(&format!("evt.{partition}.{}.{token}", self.lane))
    }

    /// The messages of events, cut to their limits, without what is stored.
    pub(crate) fn events(&self, events: Vec<PartitionEvents>, stored: &Stored) -> Result<Vec<Part>, PartsError> {
        let mut parts = Vec::new();
        for PartitionEvents { partition, events } in events {
            let events = stored.missing(events)?;
            let token = events.class.name();
            let subject = self.subject(partition, token)?;
            let first = stored.parts(partition, token);
            for (number, (batch, body)) in events.split(MAX_ROWS_PER_MESSAGE, MAX_BODY_BYTES)?.into_iter().enumerate() {
                let headers =
                    self.event_headers(&batch.rows, format!("{}/{partition}/{token}/{}", self.id, first + number));
                parts.push(Part { subject: subject.clone(), headers, body, decoded: Some(Arc::new(batch)) });
            }
        }
        Ok(parts)
    }

    fn event_headers(&self, rows: &RecordBatch, id: String) -> Headers {
        let range = believed_range(rows);
        let mut books = Books::default();
        books.add(&self.key(), Counts { events: rows.num_rows() as u64, ..Counts::default() });
        Headers {
            id,
            kind: Kind::Data,
            books,
            min_time_us: range.map(|(min, _)| min),
            max_time_us: range.map(|(_, max)| max),
            rows: u32::try_from(rows.num_rows()).unwrap_or(u32::MAX),
            enrichment: self.enrichment.clone(),
            ..self.headers()
        }
    }

    /// Copies of an input's open, heartbeat or close for each partition concerned, without what is stored.
    pub(crate) fn controls(&self, partitions: u16, stored: &Stored) -> Result<Vec<Part>, PartsError> {
        let concerned = if self.header.tenant == SHARED {
            0..partitions
        } else {
            let partition = partition_of(&self.header.tenant, 0, partitions);
            partition..partition + 1
        };
        let body = bytes::Bytes::from(self.header.encode_to_vec());
        let mut parts = Vec::with_capacity(concerned.len());
        for partition in concerned {
            let id = format!("{}/{partition}/{CONTROL}", self.id);
            if stored.ids.contains(&id) {
                continue;
            }
            let headers = Headers { id, kind: Kind::Input, ..self.headers() };
            let subject = self.subject(partition, CONTROL)?;
            parts.push(Part { subject, headers, body: body.clone(), decoded: None });
        }
        Ok(parts)
    }

    /// The DLQ messages of parked records.
    pub(crate) fn parked(&self, parked: &[Parked], subject: &Subject) -> Vec<Part> {
        let mut lots: Vec<ParkedRecords> = Vec::new();
        let mut bytes = MAX_DLQ_BODY_BYTES;
        for record in parked {
            let length = record.encoded_len();
            match lots.last_mut() {
                Some(lot) if bytes + length <= MAX_DLQ_BODY_BYTES => lot.records.push(record.clone()),
                _ => {
                    bytes = 0;
                    lots.push(ParkedRecords { records: vec![record.clone()] });
                }
            }
            bytes += length;
        }
        let part = |(number, lot): (usize, ParkedRecords)| {
            let id = format!("{}/parked/{number}", self.id);
            let rows = u32::try_from(lot.records.len()).unwrap_or(u32::MAX);
            let headers = Headers { id, rows, ..self.headers() };
            Part { subject: subject.clone(), headers, body: lot.encode_to_vec().into(), decoded: None }
        };
        lots.into_iter().enumerate().map(part).collect()
    }
}

/// Last token of the subject of an input's open, heartbeat or close.
const CONTROL: &str = "input";
