//! DLQ: parked records by reason, each once, although an entry may repeat after a crash.

use std::collections::{BTreeMap, BTreeSet};

use atalaya_bus::{Message, Position, Sequence, Stream};
use atalaya_model::Origin;
use atalaya_proto::dlq_v1::{Parked, ParkedRecords};
use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::domains::Domains;
use super::fold::{Fold, MAX_DOMAINS};
use super::tally::{Row, Tally};

/// The newest RAW message a lane has parked records of, and which of them. A lane parks in order, so an older one, or
/// the same record, was counted before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Newest {
    place: (u64, u64),
    records: BTreeSet<u32>,
}

/// The fold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ParkedFold {
    position: Position,
    /// By subject, that is by stage and lane.
    newest: BTreeMap<String, Newest>,
    domains: Domains,
    /// Parked records by reason.
    pub by_reason: Tally,
}

impl ParkedFold {
    fn count(&mut self, subject: &str, record: Parked) -> Result<(), String> {
        let origin = Origin::parse(&record.raw_id).ok_or_else(|| format!("'{}' is no origin", record.raw_id))?;
        let place = (origin.epoch_ms, origin.offset);
        let newest = self.newest.entry(subject.to_owned()).or_default();
        if place > newest.place {
            *newest = Newest { place, records: BTreeSet::new() };
        }
        if place < newest.place || !newest.records.insert(record.record) {
            return Ok(());
        }
        if let Some(past) = self.domains.note(&record.domain, 2 * MAX_DOMAINS) {
            self.by_reason.sum_up(&past);
        }
        self.by_reason.add(Row { tenant: record.tenant, domain: record.domain, name: record.reason }, 1);
        Ok(())
    }
}

impl Fold for ParkedFold {
    const STREAM: Stream = Stream::Dlq;

    fn position(&self) -> &Position {
        &self.position
    }

    fn take(&mut self, message: &Message, position: Position) -> Result<(), String> {
        self.position = position;
        let body = ParkedRecords::decode(message.body.clone()).map_err(|error| error.to_string())?;
        body.records.into_iter().try_for_each(|record| self.count(message.subject.as_str(), record))
    }

    fn skip_to(&mut self, sequence: Sequence) {
        self.position = Position { incarnation: self.position.incarnation, sequence, id: String::new() };
    }

    fn scopes(&self) -> Vec<(String, Sequence)> {
        Vec::new()
    }
}
