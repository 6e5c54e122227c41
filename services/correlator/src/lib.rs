//! x
pub mod detect;
pub mod engine;
pub mod sigma;
pub mod watermark;
