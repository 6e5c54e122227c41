//! cargo xtask: test, servers, bench.
fn main() {}
