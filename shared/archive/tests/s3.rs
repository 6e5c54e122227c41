//! Every case on a real S3 service, and what only separate processes and a service that dies can show.
#![allow(unreachable_pub, missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test fails so")]

#[macro_use]
mod cases;
#[path = "s3/child.rs"]
mod child;
mod common;
#[path = "s3/outage.rs"]
mod outage;
#[path = "s3/processes.rs"]
mod processes;
#[path = "s3/server.rs"]
mod server;
#[path = "s3/uploads.rs"]
mod uploads;

cases_at!(server::place);
