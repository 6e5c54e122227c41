//! x
pub mod deferred;
pub mod group;
pub mod window;
