//! Turns raw records into events.
