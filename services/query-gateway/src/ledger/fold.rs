//! The folds: what each stream says, message by message. Pure; a fold is stored with its position and goes on from there.

use std::collections::BTreeMap;

use atalaya_bus::{Kind, Message, Position, Sequence, Stream};
use atalaya_model::Books;
use atalaya_proto::alert_v1::{Alerts, State};
use atalaya_proto::raw::RawBody;
use atalaya_proto::raw_v1::Entry;
use prost::Message as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::domains::{Domains, sum_up};
use super::rates::Rates;
use super::tally::{Row, Tally};

/// Domains with rows of their own at most; the oldest are summed up.
pub const MAX_DOMAINS: usize = 64;

/// Domains that the folds behind RAW keep: more, since they may meet them in another order.
const MAX_DOMAINS_BEHIND: usize = 2 * MAX_DOMAINS;

/// What folds a stream.
pub trait Fold: Clone + Default + Serialize + DeserializeOwned + Send + 'static {
    /// The stream.
    const STREAM: Stream;

    /// Up to where it is folded.
    fn position(&self) -> &Position;

    /// Takes a message in, and its position.
    ///
    /// # Errors
    /// If its body cannot be read; its headers are counted all the same.
    fn take(&mut self, message: &Message, position: Position) -> Result<(), String>;

    /// Goes on behind messages that are gone.
    fn skip_to(&mut self, sequence: Sequence);

    /// The newest message of each scope (lane or partition) that has floors.
    fn scopes(&self) -> Vec<(String, Sequence)>;
}

/// The inputs of a backfill or replay, as RAW tells of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    /// How many there are, as every open says.
    pub named: u32,
    /// How many were opened.
    pub opened: u32,
    /// How many were closed.
    pub closed: u32,
    /// The newest RAW message by lane.
    pub newest: BTreeMap<String, Sequence>,
}

/// RAW: what was received, and the inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RawFold {
    position: Position,
    /// Records received and known, and dropped at the collector.
    pub books: Books,
    /// The domains, as they began.
    pub domains: Domains,
    /// The inputs of each but `live`.
    pub inputs: BTreeMap<String, Inputs>,
    /// The newest message by lane.
    pub newest: BTreeMap<String, Sequence>,
}

impl RawFold {
    fn note(&mut self, domain: &str) {
        if let Some(past) = self.domains.note(domain, MAX_DOMAINS) {
            self.inputs.remove(&past);
            self.books = sum_up(&self.books, |domain| domain != past);
        }
    }
}

impl Fold for RawFold {
    const STREAM: Stream = Stream::Raw;

    fn position(&self) -> &Position {
        &self.position
    }

    fn take(&mut self, message: &Message, position: Position) -> Result<(), String> {
        self.position = position;
        let lane = message.subject.token(1).unwrap_or_default();
        newest(&mut self.newest, lane, message.sequence);
        for (key, _) in message.headers.books.iter() {
            self.note(&key.domain);
        }
        self.books.merge(&message.headers.books);
        let domain = message.headers.domain.as_str();
        self.note(domain);
        if domain.is_empty() || domain == atalaya_model::LIVE_DOMAIN {
            return Ok(());
        }
        let inputs = self.inputs.entry(domain.to_owned()).or_default();
        newest(&mut inputs.newest, lane, message.sequence);
        if message.headers.kind != Kind::Input {
            return Ok(());
        }
        let header = RawBody::decode(&message.body).map_err(|error| error.to_string())?.header;
        match header.entry() {
            Entry::Open => {
                inputs.opened += 1;
                inputs.named = inputs.named.max(header.domain_inputs);
            }
            Entry::Close => inputs.closed += 1,
            _ => {}
        }
        Ok(())
    }

    fn skip_to(&mut self, sequence: Sequence) {
        self.position = skipped(&self.position, sequence);
    }

    fn scopes(&self) -> Vec<(String, Sequence)> {
        self.newest.iter().map(|(lane, newest)| (lane.clone(), *newest)).collect()
    }
}

/// EVT: what became of the records, and how far each lane is covered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EvtFold {
    position: Position,
    /// Records normalised, parked and dropped, and events.
    pub books: Books,
    domains: Domains,
    /// The RAW message up to which each lane is covered.
    pub covered: BTreeMap<String, Sequence>,
    /// The newest message by partition.
    pub newest: BTreeMap<u16, Sequence>,
    /// The newest message of a domain by partition.
    pub of_domain: BTreeMap<String, BTreeMap<u16, Sequence>>,
    /// Events a second.
    pub rates: Rates,
}

impl Fold for EvtFold {
    const STREAM: Stream = Stream::Evt;

    fn position(&self) -> &Position {
        &self.position
    }

    fn take(&mut self, message: &Message, position: Position) -> Result<(), String> {
        self.position = position;
        let (partition, lane) = (partition_of(message)?, message.subject.token(2).unwrap_or_default());
        newest(&mut self.newest, &partition, message.sequence);
        let headers = &message.headers;
        if let Some(covers) = headers.covers.as_ref().filter(|_| headers.end) {
            newest(&mut self.covered, lane, covers.sequence);
        }
        if let Some(past) = self.domains.note(&headers.domain, MAX_DOMAINS_BEHIND) {
            self.of_domain.remove(&past);
            self.books = sum_up(&self.books, |domain| domain != past);
        }
        if !headers.domain.is_empty() {
            let partitions = self.of_domain.entry(headers.domain.clone()).or_default();
            newest(partitions, &partition, message.sequence);
        }
        for (key, counts) in headers.books.iter().filter(|(_, counts)| counts.events > 0) {
            self.rates.add(&key.tenant, &key.source, counts.events, headers.received_time_us);
        }
        self.books.merge(&headers.books);
        Ok(())
    }

    fn skip_to(&mut self, sequence: Sequence) {
        self.position = skipped(&self.position, sequence);
    }

    fn scopes(&self) -> Vec<(String, Sequence)> {
        self.newest.iter().map(|(partition, newest)| (partition.to_string(), *newest)).collect()
    }
}

/// ALERT: alerts opened, and how far the correlator is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertFold {
    position: Position,
    /// Alerts, and events that came late.
    pub books: Books,
    domains: Domains,
    /// The EVT message up to which each partition is covered.
    pub covered: BTreeMap<u16, Sequence>,
    /// The newest message by partition.
    pub newest: BTreeMap<u16, Sequence>,
    /// The newest message with alerts of a domain by partition.
    pub of_domain: BTreeMap<String, BTreeMap<u16, Sequence>>,
    /// Alerts opened, by title.
    pub by_rule: Tally,
}

impl AlertFold {
    fn note(&mut self, domain: &str, partition: u16, sequence: Sequence) {
        if let Some(past) = self.domains.note(domain, MAX_DOMAINS_BEHIND) {
            self.of_domain.remove(&past);
            self.by_rule.sum_up(&past);
            self.books = sum_up(&self.books, |domain| domain != past);
        }
        newest(self.of_domain.entry(domain.to_owned()).or_default(), &partition, sequence);
    }
}

impl Fold for AlertFold {
    const STREAM: Stream = Stream::Alert;

    fn position(&self) -> &Position {
        &self.position
    }

    fn take(&mut self, message: &Message, position: Position) -> Result<(), String> {
        self.position = position;
        if message.subject.token(0) != Some("alert") {
            return Ok(());
        }
        let partition = partition_of(message)?;
        newest(&mut self.newest, &partition, message.sequence);
        let headers = &message.headers;
        if let Some(covers) = headers.covers.as_ref().filter(|_| headers.end) {
            newest(&mut self.covered, &partition, covers.sequence);
        }
        for (key, _) in headers.books.iter() {
            self.note(&key.domain, partition, message.sequence);
        }
        self.books.merge(&headers.books);
        if headers.kind != Kind::Data {
            return Ok(());
        }
        let body = Alerts::decode(message.body.clone()).map_err(|error| error.to_string())?;
        for alert in body.alerts {
            self.note(&alert.domain, partition, message.sequence);
            if alert.state() == State::Opened {
                let row = Row { tenant: alert.tenant, domain: alert.domain, name: alert.title };
                self.by_rule.add(row, 1);
            }
        }
        Ok(())
    }

    fn skip_to(&mut self, sequence: Sequence) {
        self.position = skipped(&self.position, sequence);
    }

    fn scopes(&self) -> Vec<(String, Sequence)> {
        self.newest.iter().map(|(partition, newest)| (partition.to_string(), *newest)).collect()
    }
}

fn partition_of(message: &Message) -> Result<u16, String> {
    let partition = message.subject.token(1).and_then(|token| token.parse().ok());
    partition.ok_or_else(|| format!("subject {} names no partition", message.subject))
}

fn newest<K: Ord + ?Sized + ToOwned>(map: &mut BTreeMap<K::Owned, Sequence>, key: &K, sequence: Sequence)
where
    K::Owned: Ord + std::borrow::Borrow<K>,
{
    match map.get_mut(key) {
        Some(newest) => *newest = sequence.max(*newest),
        None => drop(map.insert(key.to_owned(), sequence)),
    }
}

fn skipped(position: &Position, sequence: Sequence) -> Position {
    Position { incarnation: position.incarnation, sequence, id: String::new() }
}

#[cfg(test)]
pub(crate) mod tests;
