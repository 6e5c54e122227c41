//! What `cargo xtask bench spine` is asked for. The bench does it; xtask shows it, and knows from it what to build.

use std::path::PathBuf;

use clap::Args;

/// Tenants at most: the permuted stream's sources have so many networks to be dealt out.
const MAX_TENANTS: i64 = 12_500;

/// Tenants behind one shared source, if no number is given.
const TENANTS: [u32; 3] = [1, 100, 10_000];

/// Shown below the options.
pub(crate) const EXAMPLES: &str = "\
Without --mesh, --table, --tls or --tenants the all-in-one is measured alone.

Examples:
  cargo xtask bench spine                          the all-in-one: each stage alone, the whole, event to receiver
  cargo xtask bench spine --mesh                   all of the mesh, beside the all-in-one: an hour and more
  cargo xtask bench spine --table --sync always    the table alone, the all-in-one and one mesh
  cargo xtask bench spine --tls                    one mesh plain, one with TLS
  cargo xtask bench spine --tenants 100            one shared source of 100 tenants
  cargo xtask bench spine --table --hold-hot-store what everything else does while Cassandra has nothing to do
  cargo xtask bench spine --mesh --copies 1 --warm-up 1 --seconds 3
                                                   whether all of it works; its figures say nothing

Of a mesh are measured: the seven services of examples/mesh as processes, nats-server, SeaweedFS and Cassandra, each
started for it on ports of its own. The machine should be quiet, and have 4 GB of memory and of disk left.";

/// What is measured, and how much of it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// All of the mesh, beside the all-in-one: as --table --tls --tenants 1,100,10000
    #[arg(long)]
    pub(crate) mesh: bool,
    /// The table: the all-in-one, and the mesh for each --sync; with it the time from event to receiver
    #[arg(long)]
    pub(crate) table: bool,
    /// What TLS costs: the mesh plain, and with TLS at its doors and to NATS
    #[arg(long)]
    pub(crate) tls: bool,
    /// The mesh with so many tenants behind one shared source, told apart by address
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=MAX_TENANTS))]
    pub(crate) tenants: Vec<u32>,
    /// When NATS syncs what it stored, for the table: always, or a span; everything else is measured with the first
    #[arg(long, value_name = "WHEN,…", value_delimiter = ',', default_value = "always,1s")]
    pub(crate) sync: Vec<String>,
    /// Copies of the Zeek DNS sample, 53,615 events each, that the whole takes in
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) copies: usize,
    /// Copies that a mesh takes in before it is measured: Java compiles what runs often
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) warm_up: usize,
    /// Seconds of 20,000 events/s, sent whether or not they are taken, for the time from event to receiver
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) seconds: u64,
    /// Hold the hot store of a mesh until everything else is done with the events
    #[arg(long)]
    pub(crate) hold_hot_store: bool,
    /// Where the services' binaries are, if not where this was built
    #[arg(long, value_name = "DIR")]
    pub(crate) binaries: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    /// Whether only the all-in-one is measured.
    pub(crate) fn all_in_one(&self) -> bool {
        !self.table() && !self.tls() && self.tenants().is_empty()
    }

    pub(crate) fn table(&self) -> bool {
        self.mesh || self.table
    }

    pub(crate) fn tls(&self) -> bool {
        self.mesh || self.tls
    }

    pub(crate) fn tenants(&self) -> &[u32] {
        if self.mesh && self.tenants.is_empty() { &TENANTS } else { &self.tenants }
    }
}
