//! The hot store: event bodies stored once, as they came, and an inverted index of who stands in them.
//!
//! [`Hot`] is the port. Adapters: [`embedded`] (fjall), [`cassandra`]. What an adapter stores follows from [`plan`]: segments (the
//! bodies), postings (which rows of a segment belong to an entity, newest first) and the places of event ids. How a
//! page is read is [`lookup`], the same for every adapter over the small trait [`lookup::Tables`]. Everything is keyed
//! by tenant first, is deterministic, and may be written again.

pub mod cassandra;
pub mod embedded;
pub mod kinds;
pub mod lookup;
pub mod plan;
pub mod posting;

mod cells;
mod group;
mod listing;
mod network;
mod port;
mod rows;
mod stance;

pub mod conformance;

use std::sync::Arc;

pub use port::{
    AlertPage, AlertQuery, AlertRow, AlertStatus, Comment, Filed, FiledMessage, Hit, Hot, HotError, Lookup, LookupKind,
    MAX_PAGE_ROWS, Page,
};

/// Opens the hot store a URL names, as [`open_with`] does, with nothing else said of Cassandra.
///
/// # Errors
/// As [`open_with`].
pub async fn open(url: &str) -> Result<Arc<dyn Hot>, HotError> {
    open_with(url, &cassandra::Options::default()).await
}

/// Opens the hot store a URL names: `file:DIR` or `cassandra://HOST:PORT[,HOST:PORT]/KEYSPACE`, either with
/// `?retention=90d` where rows are to go some day. The options count for Cassandra only.
///
/// # Errors
/// If the URL names none, or the store cannot be opened.
pub async fn open_with(url: &str, options: &cassandra::Options) -> Result<Arc<dyn Hot>, HotError> {
    let bad = || HotError::Url(url.to_owned());
    let (scheme, rest) = url.split_once(':').ok_or_else(bad)?;
    if scheme == "cassandra" {
        return Ok(Arc::new(cassandra::Cassandra::open(url, options).await?));
    }
    let (directory, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    if scheme != "file" || directory.is_empty() {
        return Err(bad());
    }
    let mut options = embedded::Options::default();
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let span = parameter.strip_prefix("retention=").ok_or_else(bad)?;
        options.retention_us = Some(atalaya_model::parse_span(span).map_err(|_| bad())?);
    }
    let directory = std::path::PathBuf::from(directory);
    Ok(Arc::new(embedded::Embedded::open(directory, options).await?))
}
