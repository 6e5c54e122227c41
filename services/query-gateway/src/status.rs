//! Service `Status`: the ledger, streams, readers, rates and alarms. A reader sees its tenant's rows, an operator all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use atalaya_bus::{Bus, Sequence, Stream, StreamInfo, now_us};
use atalaya_model::{Books, Counts, LedgerKey};
use atalaya_proto::query_v1 as wire;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::access::{Caller, Places};
use crate::ledger::settle::{settled, totals};
use crate::ledger::{FloorView, Folds, Ledger};
use crate::lookup::unavailable;

/// How long an answer waits at most for the ledger to have seen what was written before the question.
const MAX_CATCH_UP: Duration = Duration::from_secs(2);

const CATCH_UP_PAUSE: Duration = Duration::from_millis(10);

/// The service.
pub(crate) struct StatusDesk {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) ledger: Ledger,
    pub(crate) places: Places,
    pub(crate) started_us: i64,
}

#[tonic::async_trait]
impl wire::status_server::Status for StatusDesk {
    async fn get(&self, request: Request<wire::StatusRequest>) -> Result<Response<wire::StatusResponse>, Status> {
        let caller = Caller::of(&request)?;
        let _place = self.places.take()?;
        let domain = request.into_inner().domain;
        let streams = self.streams().await?;
        self.catch_up(&streams).await;
        let floors = self.ledger.floors().await.map_err(|error| unavailable("floors", &error))?;
        let view = View { caller, domain, floors };
        let mut response = self.ledger.with(|folds| view.response(folds));
        response.started_us = self.started_us;
        if view.caller.everything {
            response.streams = streams.iter().map(|(stream, info)| stream_status(*stream, info)).collect();
            response.alarms = self.ledger.alarms();
            let error = self.ledger.last_error();
            if !error.is_empty() {
                response.last_error = error;
            }
        }
        Ok(Response::new(response))
    }
}

impl StatusDesk {
    async fn streams(&self) -> Result<Vec<(Stream, StreamInfo)>, Status> {
        let mut streams = Vec::with_capacity(Stream::ALL.len());
        for stream in Stream::ALL {
            let info = self.bus.info(stream).await.map_err(|error| unavailable("bus", &error))?;
            streams.push((stream, info));
        }
        Ok(streams)
    }

    /// Waits a little for the folds to be where the streams are.
    async fn catch_up(&self, streams: &[(Stream, StreamInfo)]) {
        let deadline = Instant::now() + MAX_CATCH_UP;
        let behind = |(stream, info): &(Stream, StreamInfo)| self.ledger.folded(*stream) < info.last;
        while streams.iter().any(behind) && Instant::now() < deadline {
            tokio::time::sleep(CATCH_UP_PAUSE).await;
        }
    }
}

/// What one caller sees of one moment.
struct View {
    caller: Caller,
    domain: String,
    floors: FloorView,
}

impl View {
    fn response(&self, folds: &Folds) -> wire::StatusResponse {
        let books = totals(folds, &self.floors);
        let ledger: Vec<_> = books.iter().filter(|(key, _)| self.shows(&key.tenant, &key.domain)).collect();
        let balanced = ledger.iter().all(|(_, counts)| counts.balanced());
        let open = self.open(folds, &books);
        wire::StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ledger: ledger.into_iter().map(|(key, counts)| ledger_row(key, counts)).collect(),
            balanced,
            parked_by_reason: reasons(folds.parked.by_reason.by_name(|row| self.shows(&row.tenant, &row.domain))),
            alerts_by_rule: reasons(folds.alert.by_rule.by_name(|row| self.shows(&row.tenant, &row.domain))),
            readers: if self.caller.everything { readers(folds, &self.floors) } else { Vec::new() },
            rates: self.rates(folds),
            domain_closed: !self.domain.is_empty() && open.is_none(),
            last_error: open.unwrap_or_default(),
            ..wire::StatusResponse::default()
        }
    }

    fn shows(&self, tenant: &str, domain: &str) -> bool {
        self.caller.sees(tenant) && (self.domain.is_empty() || self.domain == domain)
    }

    /// What the domain that was asked for waits for.
    fn open(&self, folds: &Folds, books: &Books) -> Option<String> {
        if self.domain.is_empty() {
            return None;
        }
        let open = settled(&self.domain, folds, &self.floors, books).err()?;
        Some(format!("domain {} is open: {open}", self.domain))
    }

    fn rates(&self, folds: &Folds) -> Vec<wire::Rate> {
        let rates = folds.evt.rates.at(now_us(), |tenant| self.caller.sees(tenant));
        let rate = |(source, rate): (&str, crate::ledger::rates::Rate)| wire::Rate {
            source: source.to_owned(),
            ten_minutes: rate.windows[0],
            three_hours: rate.windows[1],
            one_day: rate.windows[2],
            all_time: rate.all_time,
        };
        rates.into_iter().map(rate).collect()
    }
}

fn reasons(counts: BTreeMap<&str, u64>) -> Vec<wire::ReasonCount> {
    counts.into_iter().map(|(reason, count)| wire::ReasonCount { reason: reason.to_owned(), count }).collect()
}

fn stream_status(stream: Stream, info: &StreamInfo) -> wire::StreamStatus {
    wire::StreamStatus {
        name: stream.name().to_owned(),
        first: info.first,
        last: info.last,
        bytes: info.bytes,
        max_bytes: info.max_bytes,
    }
}

/// Every reader with its floor, and the correlator with what its alerts cover.
fn readers(folds: &Folds, floors: &FloorView) -> Vec<wire::ReaderStatus> {
    let held =
        floors.iter().filter(|(_, reader, _, _)| *reader != "correlator").map(|(stream, reader, scope, floor)| {
            let newest = newest(folds, stream, scope);
            match scope.parse() {
                Ok(partition) => {
                    reader_status(format!("{stream} {reader}"), partition, floor.position.sequence, newest)
                }
                Err(_) => reader_status(format!("{stream} {reader} {scope}"), 0, floor.position.sequence, newest),
            }
        });
    let correlator = folds.alert.covered.iter().map(|(partition, covered)| {
        let newest = folds.evt.newest.get(partition).copied().unwrap_or(0);
        reader_status("EVT correlator".to_owned(), u32::from(*partition), *covered, newest)
    });
    held.chain(correlator).collect()
}

/// The newest message of a lane or partition.
fn newest(folds: &Folds, stream: Stream, scope: &str) -> Sequence {
    let of_partition =
        |newest: &BTreeMap<u16, Sequence>| scope.parse().ok().and_then(|scope| newest.get(&scope).copied());
    let found = match stream {
        Stream::Raw => folds.raw.newest.get(scope).copied(),
        Stream::Evt => of_partition(&folds.evt.newest),
        Stream::Alert => of_partition(&folds.alert.newest),
        Stream::Dlq => None,
    };
    found.unwrap_or(0)
}

fn reader_status(reader: String, partition: u32, sequence: Sequence, newest: Sequence) -> wire::ReaderStatus {
    wire::ReaderStatus { reader, partition, sequence, lag: newest.saturating_sub(sequence) }
}

fn ledger_row(key: &LedgerKey, counts: &Counts) -> wire::LedgerRow {
    wire::LedgerRow {
        source: key.source.clone(),
        tenant: key.tenant.clone(),
        domain: key.domain.clone(),
        received: counts.received,
        known: counts.known,
        normalized: counts.normalized,
        parked: counts.parked,
        dropped: counts.dropped,
        events: counts.events,
        archived: counts.archived,
        hot: counts.hot,
        expired: counts.expired,
        late: counts.late,
        alerts: counts.alerts,
        notified: counts.notified,
        silenced: counts.silenced,
        undeliverable: counts.undeliverable,
    }
}
