//! A fault-injecting bus, temporary buses and builders shared by tests.
//!
//! [`Life`] is one life of a process: by seed it loses answers, delays, refuses and crashes. [`FaultBus`] puts a bus
//! into it; other stores join with [`Life::point`] and [`Life::happens`]. A simulation runs a stage with [`Life::run`],
//! and when that ends in a crash starts the stage again in the next life, over the same stores.

mod bus;
mod data;
mod events;
mod fault;
mod life;
mod raw;

pub use bus::TestBus;
pub use data::{lines, shared_data};
pub use events::{dns_batch, event_part};
pub use fault::FaultBus;
pub use life::{Faults, Life};
pub use raw::{RawBuilder, zeek_conn, zeek_dns};
