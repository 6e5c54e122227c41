//! The readers: bytes of a record → [`Record`](crate::record::Record). They know syntax, not meaning.

pub(crate) mod json;
pub(crate) mod ocsf;
pub(crate) mod zeek_tsv;

use crate::park::Reason;

/// Why a record cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// For machines.
    pub(crate) reason: Reason,
    /// For people: what is wrong, and where in the record.
    pub(crate) detail: String,
}

impl Fault {
    /// A fault.
    pub(crate) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// The record as text.
pub(crate) fn text(record: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(record)
        .map_err(|error| Fault::new(Reason::BadUtf8, format!("byte {} is no UTF-8", error.valid_up_to() + 1)))
}
