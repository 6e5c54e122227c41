//! The configuration of a mesh: that of `examples/mesh` with the bench's rule, token and tenants, and what is free on
//! this machine as variables.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use atalaya_model::DEFAULT_TENANT;
use atalaya_servers::mesh::{ADMIN, S3_ACCESS_KEY, S3_SECRET_KEY, SERVICES, copy, example, password_variable};
use atalaya_servers::{Cassandra, NatsServer, S3, key_file};

use super::Options;
use super::certificates::{self, Certificates};
use crate::load::networks;
use crate::paced;

/// What `nats.conf` says of syncing.
const SYNC: &str = "sync_interval: always";

/// It is written.
pub(super) struct Configuration {
    /// One directory per service in it.
    pub(super) directory: PathBuf,
    place: PathBuf,
    token: String,
    tls: Option<Certificates>,
}

impl Configuration {
    /// Writes it below a directory.
    pub(super) fn write(place: &Path, options: &Options) -> anyhow::Result<Self> {
        let (directory, secrets) = (place.join("config"), place.join("secrets"));
        copy(&example(), &directory)?;
        std::fs::create_dir_all(&secrets)?;
        let token = key_file(&secrets.join("token"))?;
        let tls = if options.tls { Some(certificates::make(&secrets)?) } else { None };
        nats(&directory.join("nats/nats.conf"), &options.sync, tls.as_ref())?;
        paced::write_rule(&directory.join("rules"))?;
        tenants(&directory.join("tenants"), &token, options.tenants)?;
        Ok(Self { directory, place: place.to_owned(), token, tls })
    }

    /// The token of somebody who may do everything.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// The authority of the doors' certificates, PEM; none if they have no TLS.
    pub(super) fn authority(&self) -> anyhow::Result<Option<String>> {
        Ok(self.tls.as_ref().map(|tls| std::fs::read_to_string(&tls.authority)).transpose()?)
    }

    /// The file that NATS is started with.
    pub(super) fn nats(&self) -> PathBuf {
        self.directory.join("nats/nats.conf")
    }

    /// The password of a user of NATS.
    pub(super) fn password(&self, user: &str) -> anyhow::Result<String> {
        key_file(&self.place.join("secrets").join(user))
    }

    /// The variables that NATS takes passwords from.
    pub(super) fn nats_variables(&self) -> anyhow::Result<Vec<(String, String)>> {
        let users = SERVICES.into_iter().chain([ADMIN]);
        users.map(|user| Ok((password_variable(user), self.password(user)?))).collect()
    }

    /// What every service is told besides.
    pub(super) fn variables(&self, nats: &NatsServer, s3: &S3, cassandra: &Cassandra) -> Vec<(String, String)> {
        let mut variables = vec![
            ("ATALAYA_HOT", format!("cassandra://{}/atalaya", cassandra.address())),
            ("ATALAYA_S3_ENDPOINT", s3.endpoint()),
            (S3_ACCESS_KEY, s3.access_key().to_owned()),
            (S3_SECRET_KEY, s3.secret_key().to_owned()),
            ("ATALAYA_COLLECTOR_SPOOL", self.place.join("spool").display().to_string()),
            ("ATALAYA_TELEMETRY_LOG", "warn".to_owned()),
        ];
        match &self.tls {
            None => variables.push(("ATALAYA_BUS", nats.url())),
            Some(tls) => {
                let (certificate, key) = (tls.certificate.display(), tls.key.display());
                let door = format!("{{certificate: 'file:{certificate}', key: 'file:{key}'}}");
                variables.push(("ATALAYA_BUS", nats.url().replace("nats://", "tls://")));
                variables.push(("ATALAYA_NATS_CA_FILE", tls.authority.display().to_string()));
                variables.push(("ATALAYA_COLLECTOR_TLS", door.clone()));
                variables.push(("ATALAYA_QUERY_GATEWAY_TLS", door));
            }
        }
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// The server's file, as the example has it but for these.
fn nats(file: &Path, sync: &str, tls: Option<&Certificates>) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    ensure!(text.contains(SYNC), "{}: '{SYNC}' is not there to be changed", file.display());
    let mut text = text.replace(SYNC, &format!("sync_interval: {sync}"));
    if let Some(tls) = tls {
        let (certificate, key) = (tls.certificate.display(), tls.key.display());
        text.push_str(&format!("\ntls {{ cert_file: \"{certificate}\", key_file: \"{key}\" }}\n"));
    }
    std::fs::write(file, text).with_context(|| file.display().to_string())
}

/// What a tenant is called, by its number from 0.
pub(super) fn name(tenant: u32) -> String {
    format!("t{tenant}")
}

/// The tenants' files: the operator's, and on request so many that own something.
fn tenants(directory: &Path, token: &str, count: Option<u32>) -> anyhow::Result<()> {
    // The example's own networks and domains are nobody's here.
    std::fs::remove_dir_all(directory).with_context(|| directory.display().to_string())?;
    std::fs::create_dir(directory)?;
    let write = |name: &str, text: String| {
        let file = directory.join(format!("{name}.yaml"));
        std::fs::write(&file, text).with_context(|| file.display().to_string())
    };
    let hash = atalaya_model::sha256_hex(token);
    let roles = "[ingest, reader, operator]";
    write(DEFAULT_TENANT, format!("tokens: [{{name: bench, sha256: '{hash}', roles: {roles}}}]\n"))?;
    let dealt = count.map(|count| networks(count as usize)).unwrap_or_default();
    for (tenant, mut networks) in (0..).zip(dealt) {
        networks.push(paced::marked_network(tenant));
        write(&name(tenant), format!("networks: ['{}']\n", networks.join("', '")))?;
    }
    Ok(())
}
