//! What a message says of itself without its body: enough to route, account and trace.

use atalaya_model::Books;
use serde::{Deserialize, Serialize};

use crate::Sequence;

/// The version this code writes; a reader that meets a newer one stops its partition with an alarm.
pub const HEADERS_VERSION: u16 = 1;

/// Headers at most; a server refuses 64 KiB.
pub const MAX_HEADER_BYTES: usize = 32 << 10;

/// What a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Has a body of rows, records or alerts.
    #[default]
    Data,
    /// A position and counts, nothing else.
    Mark,
    /// An input's open, heartbeat or close: the body is a RAW header.
    Input,
}

/// A place in an input: everything up to and with `sequence` is covered. The id tells a restored copy from the original.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The stream's incarnation.
    pub incarnation: u64,
    /// The last message covered.
    pub sequence: Sequence,
    /// That message's id.
    pub id: String,
}

/// The headers. JSON on the wire, in one header field; small, and stable under added fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Headers {
    /// [`HEADERS_VERSION`] of the writer.
    pub version: u16,
    /// The message's name: deterministic, no duplicate filter.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// The input position it covers, or belongs to while `end` is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covers: Option<Position>,
    /// The writer's message before this one, under its fence; 0 for none.
    pub predecessor: Sequence,
    /// The writer's message before this one that the same readers see (same partition and lane); 0 for none.
    pub chain: Sequence,
    /// Whether this is the position's last message.
    pub end: bool,
    /// What it counts: its own events, and with `end` the position's records (and those of the positions that were
    /// passed without output since the message before).
    #[serde(skip_serializing_if = "Books::is_empty")]
    pub books: Books,
    /// Smallest event time in the body, microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_time_us: Option<i64>,
    /// Largest event time in the body, microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_time_us: Option<i64>,
    /// When the records were received, microseconds since 1970.
    pub received_time_us: i64,
    /// The source of the events.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// `live`, or the backfill or replay.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// The input within the lane.
    pub input: u64,
    /// Rows or alerts in the body.
    pub rows: u32,
    /// ALERT: hash of the rule set that was in force, hexadecimal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rule_set: String,
    /// Versions of the enrichment data used, `name=version` joined by `,`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub enrichment: String,
    /// W3C trace context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// Headers that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HeadersError {
    /// No JSON of this shape.
    #[error("headers: {0}")]
    Json(#[from] serde_json::Error),
    /// Written by newer code.
    #[error("headers of version {0}, this program reads up to {HEADERS_VERSION}: upgrade readers before writers")]
    Newer(u16),
    /// Beyond [`MAX_HEADER_BYTES`].
    #[error("headers of {0} bytes, more than {MAX_HEADER_BYTES}")]
    TooLarge(usize),
}

impl Headers {
    /// The text form.
    ///
    /// # Errors
    /// If it would be larger than [`MAX_HEADER_BYTES`].
    pub fn encode(&self) -> Result<Vec<u8>, HeadersError> {
        let text = serde_json::to_vec(self)?;
        if text.len() > MAX_HEADER_BYTES { Err(HeadersError::TooLarge(text.len())) } else { Ok(text) }
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// If it is damaged, or of a newer version.
    pub fn decode(text: &[u8]) -> Result<Self, HeadersError> {
        let read = serde_json::from_slice::<Self>(text);
        // Whatever else a newer version changes, it is its number that has to be told.
        let version = match &read {
            Ok(headers) => headers.version,
            Err(_) => serde_json::from_slice::<Version>(text).map_or(0, |found| found.version),
        };
        if version > HEADERS_VERSION { Err(HeadersError::Newer(version)) } else { Ok(read?) }
    }
}

/// What headers of every version have.
#[derive(Deserialize)]
struct Version {
    version: u16,
}
