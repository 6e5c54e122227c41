//! OCSF JSON in and out, by the paths of the columns.
//!
//! What OCSF holds coarser than a column has an exact twin beside it: a time in milliseconds its `*_dt` attribute (the
//! datetime profile), a duration in milliseconds its `unmapped.atalaya.*_us`. Columns without a place in OCSF stand
//! under `unmapped.atalaya`.

mod derived;
mod path;
mod read;
mod write;

pub use read::{ASSIGNED, from_ocsf, ocsf_class};
pub use write::to_ocsf;

/// The OCSF version of what is written.
pub const OCSF_VERSION: &str = "1.8.0";

const US_PER_MS: i64 = 1_000;
const US_PER_SECOND: i64 = 1_000_000;

#[cfg(test)]
mod tests;
