//! x
pub mod sigma;
