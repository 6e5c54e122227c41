//! Whether a backfill or replay is settled: every input closed, everything passed by everybody, the books balanced.

use std::collections::BTreeMap;
use std::fmt;

use atalaya_bus::{Floor, Sequence, Stream};
use atalaya_model::{Books, Counts};

use super::domains::sum_up;
use super::{AlertFold, EvtFold, Folds, RawFold};

/// Readers of EVT that file each event.
const EVT_READERS: [&str; 2] = ["archive", "hot"];

/// Readers of ALERT that file or deliver each alert.
const ALERT_READERS: [&str; 3] = ["archive", "hot", "notifier"];

/// Every reader's floor, by stream, reader and scope.
#[derive(Clone, Debug, Default)]
pub struct FloorView(BTreeMap<(Stream, String, String), Floor>);

impl FloorView {
    /// Adds a stream's floors.
    pub fn add(&mut self, stream: Stream, floors: Vec<(String, String, Floor)>) {
        self.0.extend(floors.into_iter().map(|(reader, scope, floor)| ((stream, reader, scope), floor)));
    }

    /// Stream, reader, scope and floor of each.
    pub fn iter(&self) -> impl Iterator<Item = (Stream, &str, &str, &Floor)> {
        self.0.iter().map(|((stream, reader, scope), floor)| (*stream, reader.as_str(), scope.as_str(), floor))
    }

    fn sequence(&self, stream: Stream, reader: &str, partition: u16) -> Sequence {
        let key = (stream, reader.to_owned(), partition.to_string());
        self.0.get(&key).map_or(0, |floor| floor.position.sequence)
    }
}

/// What a domain still waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Open {
    /// RAW tells of no inputs that were named.
    Unknown,
    /// Of `named` inputs, so many were opened and closed.
    Inputs {
        /// Inputs that every open named.
        named: u32,
        /// Opened so far.
        opened: u32,
        /// Closed so far.
        closed: u32,
    },
    /// A reader has not passed the domain's newest message of a scope.
    Reader {
        /// Who.
        reader: String,
        /// Of which lane or partition.
        scope: String,
    },
    /// Everything has passed, and the books do not balance.
    Books(Box<Counts>),
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("none of its inputs has arrived"),
            Self::Inputs { named, opened, closed } => {
                write!(f, "of {named} inputs {opened} were opened and {closed} closed")
            }
            Self::Reader { reader, scope } => write!(f, "{reader} has not passed it in {scope}"),
            Self::Books(counts) => write!(
                f,
                "in flight: {} records, {} events to the archive, {} to the hot store, {} alerts",
                counts.records_in_flight(),
                counts.archive_in_flight(),
                counts.hot_in_flight(),
                counts.alerts_in_flight()
            ),
        }
    }
}

/// The books as a whole: the folds and what the floors count, domains without rows of their own summed up.
#[must_use]
pub fn totals(folds: &Folds, floors: &FloorView) -> Books {
    let mut books = folds.raw.books.clone();
    books.merge(&folds.evt.books);
    books.merge(&folds.alert.books);
    for (_, _, _, floor) in floors.iter() {
        books.merge(&floor.books);
    }
    sum_up(&books, |domain| folds.raw.domains.knows(domain))
}

/// Whether a domain is settled, or what it waits for. Every part of it only ever becomes truer, so that it does not
/// matter that floors and folds are read one after the other.
///
/// # Errors
/// What it waits for.
pub fn settled(domain: &str, folds: &Folds, floors: &FloorView, books: &Books) -> Result<(), Open> {
    let lanes = inputs_closed(domain, &folds.raw)?;
    normalized(lanes, &folds.evt)?;
    let none = BTreeMap::new();
    let events = folds.evt.of_domain.get(domain).unwrap_or(&none);
    correlated(events, &folds.alert)?;
    passed(Stream::Evt, &EVT_READERS, events, floors)?;
    let alerts = folds.alert.of_domain.get(domain).unwrap_or(&none);
    passed(Stream::Alert, &ALERT_READERS, alerts, floors)?;
    let counts = books.total(|key| key.domain == domain);
    if counts.balanced() { Ok(()) } else { Err(Open::Books(Box::new(counts))) }
}

fn inputs_closed<'a>(domain: &str, raw: &'a RawFold) -> Result<&'a BTreeMap<String, Sequence>, Open> {
    let inputs = raw.inputs.get(domain).filter(|inputs| inputs.named > 0).ok_or(Open::Unknown)?;
    let (named, opened, closed) = (inputs.named, inputs.opened, inputs.closed);
    if opened >= named && closed >= opened { Ok(&inputs.newest) } else { Err(Open::Inputs { named, opened, closed }) }
}

fn normalized(lanes: &BTreeMap<String, Sequence>, evt: &EvtFold) -> Result<(), Open> {
    let behind = |(lane, sequence): &(&String, &Sequence)| evt.covered.get(*lane).is_none_or(|at| at < sequence);
    lanes.iter().find(behind).map_or(Ok(()), |(lane, _)| Err(open("normalizer", lane)))
}

fn correlated(events: &BTreeMap<u16, Sequence>, alert: &AlertFold) -> Result<(), Open> {
    let behind =
        |(partition, sequence): &(&u16, &Sequence)| alert.covered.get(partition).is_none_or(|at| at < sequence);
    events.iter().find(behind).map_or(Ok(()), |(partition, _)| Err(open("correlator", partition)))
}

fn passed(stream: Stream, readers: &[&str], newest: &BTreeMap<u16, Sequence>, floors: &FloorView) -> Result<(), Open> {
    for reader in readers {
        for (partition, sequence) in newest {
            if floors.sequence(stream, reader, *partition) < *sequence {
                return Err(open(&format!("{reader} of {stream}"), partition));
            }
        }
    }
    Ok(())
}

fn open(reader: &str, scope: &impl ToString) -> Open {
    Open::Reader { reader: reader.to_owned(), scope: scope.to_string() }
}

#[cfg(test)]
mod tests;
