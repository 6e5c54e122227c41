//! The all-in-one on real data, by its own command line.

#![allow(unreachable_pub, missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test")]

mod alerts;
mod answers;
mod atalaya;
mod demo;
mod kill;
mod repair;
mod replay;
mod usage;
