//! The service over a real journal and a state store on disk, against the pure core over the same stream.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod changes;
mod core;
mod crashes;
mod damage;
mod script;
mod snapshots;
mod world;
