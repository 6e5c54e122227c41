//! Records that cannot be read: why, and how many of them are kept.

use std::collections::HashMap;
use std::fmt;

use atalaya_proto::dlq_v1::Parked;
use atalaya_proto::raw::RawBody;

use crate::formats::Fault;
use crate::time::HOUR_US;

/// Parked records of one RAW message, bytes of payload; further ones are dropped and counted.
pub const MAX_PARKED_BYTES_PER_MESSAGE: usize = 2 << 20;

/// Parked records of one tenant with the same reason, per lane and [`WINDOW_US`]; further ones are dropped and counted.
pub const MAX_PARKED_PER_WINDOW: u32 = 100_000;

/// How long a budget lasts, microseconds of received time.
pub const WINDOW_US: i64 = HOUR_US;

/// Pairs of tenant and reason that have a budget at the same time.
const MAX_BUDGETS: usize = 10_000;

/// Payload kept of a parked record, bytes; a longer record is cut.
pub const MAX_PAYLOAD_BYTES: usize = crate::MAX_RECORD_BYTES;

/// Why a record is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The JSON cannot be read.
    BadJson,
    /// JSON, but no object.
    NotAnObject,
    /// Bytes that are no UTF-8.
    BadUtf8,
    /// Too long, too many fields or too deep.
    TooLarge,
    /// Without a time.
    MissingTime,
    /// With a time that is none.
    BadTime,
    /// A value that its column cannot hold.
    BadValue,
    /// More or fewer fields than the header names.
    BadFieldCount,
    /// The header it needs says nothing.
    BadHeader,
    /// Tab-separated values without a header.
    NoHeader,
    /// A source kind without a mapping.
    UnknownKind,
}

impl Reason {
    /// The word in the DLQ, in metrics and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::NotAnObject => "not_an_object",
            Self::BadUtf8 => "bad_utf8",
            Self::TooLarge => "too_large",
            Self::MissingTime => "missing_time",
            Self::BadTime => "bad_time",
            Self::BadValue => "bad_value",
            Self::BadFieldCount => "bad_field_count",
            Self::BadHeader => "bad_header",
            Self::NoHeader => "no_header",
            Self::UnknownKind => "unknown_kind",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The parked records of one message, up to their limit.
#[derive(Debug, Default)]
pub(crate) struct Lot {
    pub(crate) parked: Vec<Parked>,
    pub(crate) dropped: u64,
    bytes: usize,
}

impl Lot {
    /// Parks a record of a message, or counts it as dropped.
    pub(crate) fn add(&mut self, raw: &RawBody, raw_id: &str, ordinal: usize, record: &[u8], fault: Fault) {
        let payload = &record[..record.len().min(MAX_PAYLOAD_BYTES)];
        self.bytes += payload.len() + raw.header.context.len();
        if self.bytes > MAX_PARKED_BYTES_PER_MESSAGE {
            self.dropped += 1;
            return;
        }
        let header = &raw.header;
        self.parked.push(Parked {
            raw_id: raw_id.to_owned(),
            record: u32::try_from(ordinal).unwrap_or(u32::MAX),
            source: header.source.clone(),
            kind: header.kind.clone(),
            tenant: header.tenant.clone(),
            domain: header.domain.clone(),
            received_time_us: header.received_time_us,
            input_name: header.input_name.clone(),
            line: raw.line_of(ordinal),
            reason: fault.reason.name().to_owned(),
            detail: fault.detail,
            payload: payload.to_vec(),
            context: header.context.clone(),
        });
    }
}

/// What each tenant may still park for each reason. Time is the messages' received time; a restart begins anew.
#[derive(Debug, Default)]
pub(crate) struct Budgets {
    since_us: i64,
    used: HashMap<(String, String), u32>,
}

impl Budgets {
    /// Keeps of a message's parked records those that their budgets allow; answers how many were dropped.
    pub(crate) fn admit(&mut self, parked: &mut Vec<Parked>, received_time_us: i64) -> u64 {
        if received_time_us.saturating_sub(self.since_us) >= WINDOW_US {
            self.used.clear();
            self.since_us = received_time_us;
        }
        let before = parked.len();
        parked.retain(|record| self.take(&record.tenant, &record.reason));
        (before - parked.len()) as u64
    }

    fn take(&mut self, tenant: &str, reason: &str) -> bool {
        let key = (tenant.to_owned(), reason.to_owned());
        if self.used.len() >= MAX_BUDGETS && !self.used.contains_key(&key) {
            return false;
        }
        let used = self.used.entry(key).or_default();
        *used += 1;
        *used <= MAX_PARKED_PER_WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parked(tenant: &str, count: usize) -> Vec<Parked> {
        vec![Parked { tenant: tenant.to_owned(), reason: "bad_json".to_owned(), ..Parked::default() }; count]
    }

    #[test]
    fn budgets_are_per_tenant_and_begin_anew() {
        let mut budgets = Budgets::default();
        let limit = MAX_PARKED_PER_WINDOW as usize;
        let mut flood = parked("acme", limit + 5);
        assert_eq!((budgets.admit(&mut flood, WINDOW_US), flood.len()), (5, limit));
        assert_eq!(budgets.admit(&mut parked("acme", 1), WINDOW_US), 1);
        assert_eq!(budgets.admit(&mut parked("globex", 1), WINDOW_US), 0);
        assert_eq!(budgets.admit(&mut parked("acme", 1), 2 * WINDOW_US), 0);
    }

    #[test]
    fn a_message_parks_up_to_its_bytes() {
        let raw = RawBody::decode(&atalaya_proto::raw::Block::default().encode(Default::default())).unwrap();
        let mut lot = Lot::default();
        let record = vec![b'x'; MAX_PAYLOAD_BYTES + 1];
        for ordinal in 0..20 {
            lot.add(&raw, "id", ordinal, &record, Fault::new(Reason::TooLarge, "long"));
        }
        assert_eq!(lot.parked.len() + lot.dropped as usize, 20);
        assert_eq!(lot.parked.len(), MAX_PARKED_BYTES_PER_MESSAGE / MAX_PAYLOAD_BYTES);
        assert!(lot.parked.iter().all(|parked| parked.payload.len() == MAX_PAYLOAD_BYTES));
    }
}
