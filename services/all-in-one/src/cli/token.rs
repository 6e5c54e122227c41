//! `atalaya token new`.

use atalaya_model::{Tenant, sha256_hex};
use clap::Subcommand;

use super::{Outcome, output};

/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token: the secret is printed once, its hash is for the tenant's file
    New {
        /// Whose
        #[arg(long, value_name = "TENANT")]
        tenant: Tenant,
        /// The principal's name, for the audit
        #[arg(long, value_name = "NAME", default_value = "token")]
        name: String,
        /// What it may do: push records, read its tenant's, run the platform and see every tenant's books
        #[arg(
            long = "role",
            value_name = "ROLE,…",
            value_delimiter = ',',
            value_parser = ["ingest", "reader", "operator"],
            default_values = ["ingest", "reader"]
        )]
        roles: Vec<String>,
    },
}

pub(super) fn token(command: &TokenCommand) -> anyhow::Result<Outcome> {
    let TokenCommand::New { tenant, name, roles } = command;
    let mut bytes = [0_u8; SECRET_BYTES];
    rand::fill(&mut bytes);
    let secret = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    output::line(&secret)?;
    output::note(&format!(
        "the line above is the secret: it is shown this once.\nadd to tenants/{tenant}.yaml:\n\ntokens:\n  - name: {name}\n    sha256: {}\n    roles: [{}]",
        sha256_hex(&secret),
        roles.join(", ")
    ));
    Ok(Outcome::Good)
}
