//! The servers of a mesh, each started, killed and started again.

use std::sync::{Mutex, PoisonError};

use anyhow::ensure;
use atalaya_servers::mesh::{ADMIN, S3_ACCESS_KEY, S3_SECRET_KEY, SERVICES, example, password_variable};
use atalaya_servers::{Cassandra, CassandraOptions, NatsServer, S3, key_file};

use crate::place::Place;

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Nats,
    S3,
    Cassandra,
}

/// All of them. Some meshes have NATS alone.
pub(crate) struct Servers {
    nats: Mutex<NatsServer>,
    stores: Option<(Mutex<S3>, Mutex<Cassandra>)>,
}

impl Servers {
    /// NATS with the users of `examples/mesh`, and on request the stores; returns when all are ready.
    pub(crate) fn start(place: &Place, with_stores: bool) -> anyhow::Result<Self> {
        let directory = place.join("servers");
        let users = SERVICES.into_iter().chain([ADMIN]);
        let variables = users.map(|user| Ok((password_variable(user), password(place, user)?)));
        let variables = variables.collect::<anyhow::Result<Vec<_>>>()?;
        let nats = NatsServer::start_as(&directory.join("nats"), &example().join("nats/nats.conf"), &variables)?;
        let stores = if with_stores {
            let mut cassandra = Cassandra::launch(&directory.join("cassandra"), CassandraOptions::new()?)?;
            let s3 = S3::start(&directory.join("s3"))?;
            cassandra.wait_ready()?;
            Some((Mutex::new(s3), Mutex::new(cassandra)))
        } else {
            None
        };
        Ok(Self { nats: Mutex::new(nats), stores })
    }

    /// What every service is told of the servers, as its environment.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let mut variables = vec![("ATALAYA_BUS", self.bus())];
        if let Some((s3, cassandra)) = &self.stores {
            let s3 = lock(s3);
            variables.push(("ATALAYA_S3_ENDPOINT", s3.endpoint()));
            variables.push((S3_ACCESS_KEY, s3.access_key().to_owned()));
            variables.push((S3_SECRET_KEY, s3.secret_key().to_owned()));
            variables.push(("ATALAYA_HOT", format!("cassandra://{}/atalaya", lock(cassandra).address())));
        }
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// URL of the bus.
    pub(crate) fn bus(&self) -> String {
        lock(&self.nats).url()
    }

    /// kill -9.
    pub(crate) fn kill(&self, server: Server) {
        match (server, &self.stores) {
            (Server::Nats, _) => lock(&self.nats).kill(),
            (Server::S3, Some((s3, _))) => lock(s3).kill(),
            (Server::Cassandra, Some((_, cassandra))) => lock(cassandra).kill(),
            (Server::S3 | Server::Cassandra, None) => {}
        }
    }

    /// Starts it again on what it kept; returns when it is ready.
    pub(crate) fn restart(&self, server: Server) -> anyhow::Result<()> {
        match (server, &self.stores) {
            (Server::Nats, _) => lock(&self.nats).restart(),
            (Server::S3, Some((s3, _))) => lock(s3).restart(),
            (Server::Cassandra, Some((_, cassandra))) => lock(cassandra).restart(),
            (Server::S3 | Server::Cassandra, None) => Ok(()),
        }
    }
}

/// The password of a user of NATS.
pub(crate) fn password(place: &Place, user: &str) -> anyhow::Result<String> {
    let secrets = place.join("secrets");
    std::fs::create_dir_all(&secrets)?;
    let password = key_file(&secrets.join(user))?;
    ensure!(!password.is_empty(), "{user} has no password");
    Ok(password)
}

fn lock<T>(server: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}
