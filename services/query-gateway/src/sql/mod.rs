//! SQL over the archive: one table per event class, each tenant seeing its own rows only.
//!
//! [`SqlEngine::query`] plans a query on the newest version of the tables it names, and answers with a stream of
//! batches. Guarantees: read-only; no text reaches another tenant's rows, because every scan filters by the tenant of
//! the session and the session's catalog holds nothing else; the answer is of one version of each table; a query ends
//! at its deadline, and at once when its stream is dropped. Limits: [`Limits`] and [`QueryLimits`], [`MAX_SQL_BYTES`],
//! [`MAX_DEPTH`].

mod answer;
mod catalog;
mod cidr;
mod cooperate;
mod engine;
mod error;
mod guard;
mod interrupt;
mod lane;
mod resources;
mod scan;
mod statistics;
mod table;

pub use answer::{SqlAnswer, TablePositions, Truncation};
pub use engine::SqlEngine;
pub use error::SqlError;
pub use guard::{MAX_DEPTH, MAX_SQL_BYTES};
pub use resources::{Limits, QueryLimits};

#[cfg(test)]
mod tests;
