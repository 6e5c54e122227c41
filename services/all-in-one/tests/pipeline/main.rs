//! The all-in-one on real data, by its own command line.

mod alerts;
mod answers;
mod atalaya;
mod demo;
mod kill;
mod replay;
mod usage;
