//! The normalizer from outside: mappings against golden rows, real logs, broken records, and the worker on a journal.

mod common;
mod golden;
mod ownership;
mod parking;
mod properties;
mod real_logs;
mod worker;
