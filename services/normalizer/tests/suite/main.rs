//! The normalizer from outside: mappings against golden rows, real logs, broken records, and the worker on a journal.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

mod common;
mod dlq;
mod golden;
mod ownership;
mod parking;
mod properties;
mod real_logs;
mod worker;
