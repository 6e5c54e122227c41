//! What every process needs besides its own work: configuration, telemetry, health, signals and drain.
//!
//! Knows nothing of Atalaya's other crates. A service is a type that implements [`Service`]; its main is
//! `atalaya_chassis::main::<Service>()`.

pub mod config;
pub mod door;
pub mod health;
pub mod secret;
pub mod telemetry;
pub mod trace;

mod process;
mod shutdown;

pub use process::{Service, install_tls_provider, main};
pub use shutdown::{Changes, Shutdown, Trigger, signalled};
