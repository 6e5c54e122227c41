//! The Arrow schema of each event class, its OCSF paths, and the EVT codec.
//!
//! One table ([`columns`], written in [`col`]) gives each column its type, its OCSF path and one line of meaning;
//! Arrow and archive schemas, OCSF JSON in and out, and the reference documentation are derived from it. [`Rows`] fills
//! batches, [`EventBatch`] is what travels on EVT. Pure: no I/O, no clock.

mod batch;
mod codec;
pub mod col;
mod column;
mod ip;
mod json;
mod keyword;
mod ocsf;
mod reference;
mod rows;
#[cfg(test)]
mod sample;
mod time;

pub use batch::{BatchError, EventBatch, MAX_BODY_BYTES, MAX_ROWS_PER_MESSAGE, TenantRun, batch_of, concat, to_stored};
pub use codec::{BODY_VERSION, CodecError, MAX_PREAMBLE_BYTES, MAX_STREAM_BYTES, read_runs};
pub use column::{Column, ColumnType, EVT_PARTITION, EVT_SEQ, arrow_schema, column_index, columns, stored_schema};
pub use ip::canonical_ip;
pub use json::{row_json, text_value, value_json};
pub use ocsf::{ASSIGNED, OCSF_VERSION, from_ocsf, ocsf_class, to_ocsf};
pub use reference::reference;
pub use rows::{MAX_UNMAPPED_BYTES, Rows, TRUNCATED};
pub use time::{format_time, parse_time_us, seconds_f64_to_us, seconds_to_us, write_time};
