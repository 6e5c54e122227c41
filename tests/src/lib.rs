//! Pipeline, simulation, real, tidy and bench suites over the whole platform: see the folders beside this one.
//!
//! What suites share stands here: the events that RAW must become, and the alerts that EVT must give.

pub mod alerts;
pub mod events;
