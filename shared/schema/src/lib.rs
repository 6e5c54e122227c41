//! The Arrow schema of each event class, its OCSF paths, and the EVT codec.
