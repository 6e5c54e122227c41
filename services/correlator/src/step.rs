//! From a message of EVT to the messages of ALERT that follow from it. Pure.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use anyhow::Context;
use atalaya_bus::{BusError, Headers, Kind, Message, OutputLane, Part, Position, Sequence, Unfinished};
use atalaya_model::{Alert, AlertId, AlertState, Books, Counts, LedgerKey, SHARED};
use atalaya_proto::alert_v1 as wire;
use atalaya_proto::raw_v1::RawHeader;
use atalaya_schema::batch_of;
use bytes::Bytes;
use prost::Message as _;

use crate::detect::{Arrival, Compiled, Detector, Output};

/// Alerts in one message at most.
pub const MAX_ALERTS_PER_MESSAGE: usize = 256;

/// Source of alerts in the ledger.
const ALERTS_SOURCE: &str = "alerts";

/// A detector, and the messages before which it goes on with other rules.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) detector: Detector,
    pub(crate) switches: VecDeque<(Sequence, Arc<Compiled>)>,
    pub(crate) incarnation: u64,
}

/// What follows from one message.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) position: Position,
    pub(crate) output: Output,
    pub(crate) events: usize,
    /// Hash of the rules in force.
    pub(crate) rule_set: String,
    /// Incidents closed because the rules changed before this message; none if they did not.
    pub(crate) switched: Option<usize>,
    late_key: LedgerKey,
    received_us: i64,
    traceparent: Option<String>,
}

/// What is stored already of a half-written position.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    alerts: HashSet<(AlertId, u32)>,
    messages: usize,
}

impl Stored {
    pub(crate) fn of(unfinished: &Unfinished) -> anyhow::Result<Self> {
        let mut stored = Self { messages: unfinished.stored.len(), ..Self::default() };
        for message in &unfinished.stored {
            for alert in wire::Alerts::decode(message.body.clone()).context("a stored message of alerts")?.alerts {
                let id = AlertId::from_slice(&alert.id).context("a stored alert without an id")?;
                stored.alerts.insert((id, alert.version));
            }
        }
        Ok(stored)
    }
}

impl Core {
    /// Looks at the next message.
    ///
    /// # Errors
    /// [`BusError::Damaged`] if it cannot be read.
    pub(crate) fn step(&mut self, message: &Message) -> anyhow::Result<Step> {
        let switched = match self.switches.pop_front() {
            Some((sequence, compiled)) if sequence <= message.sequence => Some(self.detector.switch(compiled)),
            Some(later) => {
                self.switches.push_front(later);
                None
            }
            None => None,
        };
        let (mut output, events) = self.look(message)?;
        let closed = switched.as_ref().map(Vec::len);
        output.alerts.splice(..0, switched.into_iter().flatten());
        let headers = &message.headers;
        let shared = || LedgerKey {
            source: headers.source.clone(),
            tenant: SHARED.to_owned(),
            domain: headers.domain.clone(),
        };
        Ok(Step {
            position: Position { incarnation: self.incarnation, sequence: message.sequence, id: headers.id.clone() },
            output,
            events,
            rule_set: self.detector.rules().set.hash.clone(),
            switched: closed,
            late_key: headers.books.iter().next().map_or_else(shared, |(key, _)| key.clone()),
            received_us: headers.received_time_us,
            traceparent: headers.traceparent.clone(),
        })
    }

    fn look(&mut self, message: &Message) -> anyhow::Result<(Output, usize)> {
        let headers = &message.headers;
        let arrival = Arrival {
            lane: message.subject.token(2).unwrap_or_default(),
            input: headers.input,
            domain: &headers.domain,
            received_us: headers.received_time_us,
        };
        let damaged = |reason: String| BusError::Damaged { stream: message.stream, sequence: message.sequence, reason };
        match headers.kind {
            Kind::Mark => Ok((Output::default(), 0)),
            Kind::Input => {
                let header = RawHeader::decode(message.body.clone()).map_err(|error| damaged(error.to_string()))?;
                Ok((self.detector.control(&arrival, &header), 0))
            }
            Kind::Data => {
                let batch = batch_of(message.decoded.as_ref(), &message.body).map_err(|error| damaged(error.to_string()))?;
                Ok((self.detector.events(&arrival, &batch), batch.rows.num_rows()))
            }
        }
    }
}

impl Step {
    /// The messages to write, without what is stored, and the position's books.
    pub(crate) fn parts(&self, partition: u16, stored: &Stored) -> (Vec<Part>, Books) {
        let fresh = self.output.alerts.iter().filter(|alert| !stored.alerts.contains(&(alert.id, alert.version)));
        let fresh: Vec<&Alert> = fresh.collect();
        let numbered = (stored.messages..).zip(fresh.chunks(MAX_ALERTS_PER_MESSAGE));
        let mut parts: Vec<Part> = numbered.map(|(number, alerts)| self.part(partition, number, alerts)).collect();
        if parts.is_empty() && stored.messages == 0 && self.switched.is_some() {
            parts.push(self.part(partition, 0, &[]));
        }
        let mut books = Books::default();
        if self.output.late > 0 {
            books.add(&self.late_key, Counts { late: self.output.late, ..Counts::default() });
        }
        (parts, books)
    }

    fn part(&self, partition: u16, number: usize, alerts: &[&Alert]) -> Part {
        let mut books = Books::default();
        for alert in alerts.iter().filter(|alert| alert.state == AlertState::Opened) {
            let (tenant, domain) = (alert.tenant.to_string(), alert.domain.clone());
            let key = LedgerKey { source: ALERTS_SOURCE.to_owned(), tenant, domain };
            books.add(&key, Counts { alerts: 1, ..Counts::default() });
        }
        let headers = Headers {
            id: format!("{}/alerts/{number}", self.position.id),
            kind: if alerts.is_empty() { Kind::Mark } else { Kind::Data },
            books,
            min_time_us: alerts.iter().map(|alert| alert.time_us).min(),
            max_time_us: alerts.iter().map(|alert| alert.time_us).max(),
            received_time_us: self.received_us,
            source: ALERTS_SOURCE.to_owned(),
            rows: u32::try_from(alerts.len()).unwrap_or(u32::MAX),
            rule_set: self.rule_set.clone(),
            traceparent: self.traceparent.clone(),
            ..Headers::default()
        };
        let body = wire::Alerts { alerts: alerts.iter().map(|alert| wire::Alert::from(*alert)).collect() };
        let body = if alerts.is_empty() { Bytes::new() } else { body.encode_to_vec().into() };
        Part { subject: OutputLane::alert(partition).mark().clone(), headers, body, decoded: None }
    }
}
