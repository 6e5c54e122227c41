//! The seven services in one process, and the command line.
