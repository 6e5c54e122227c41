//! The seven services in one process, and the command line.
//!
//! [`Instance`] is the composition root: it alone opens the embedded stores and hands each service what it needs.
//! Everything else here is a client of the two doors (ingest and gateway), the same as any other client.

pub mod cli;
pub mod demo;

mod client;
mod instance;
mod run_file;

pub use client::{Reach, Session};
pub use instance::{Instance, Options, Roles};
pub use run_file::RunFile;
