//! The gateway over real loopback gRPC, a real journal, the embedded hot store and a file archive.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]

mod alerts;
mod door;
mod ledger;
mod lookups;
mod queries;
mod world;
