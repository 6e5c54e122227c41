//! A seeded day of a small company with five attacks in it, played through the real doors.
//!
//! [`day`] makes the day (pure: the same seed gives the same day), [`zeek`] writes it as Zeek logs, [`play`] sends it
//! through files that are tailed and the ingest socket, [`verdict`] compares alerts with what was played.

pub mod day;
pub mod verdict;

mod attacks;
mod background;
pub(crate) mod play;
mod zeek;
