//! Builders, a clock, a fault-injecting bus and checks shared by tests.
