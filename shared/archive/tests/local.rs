//! Every case in memory and on files.
#![allow(clippy::unwrap_used, reason = "a test fails so")]

#[macro_use]
mod cases;
mod common;

mod in_memory {
    use crate::common::place::Place;
    cases_at!(Place::memory);
}

mod on_files {
    use crate::common::place::Place;
    cases_at!(Place::files);
}
