//! What is measured: an instance, or a mesh.

use std::time::{Duration, Instant};

use anyhow::ensure;
use atalaya_proto::query_v1::LedgerRow;

use crate::clients::Clients;
use crate::usage::Member;

/// Time for everything that a start leaves to be done.
const SETTLE: Duration = Duration::from_secs(3);

/// Pause between two looks at the books. A look costs gateway and bus something.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// It runs.
pub struct System {
    pub name: String,
    pub clients: Clients,
    pub members: Vec<Member>,
    /// Resident memory of each, before anything is asked of it.
    pub idle_mb: Vec<f64>,
}

impl System {
    /// One that has just been started.
    pub async fn new(name: String, clients: Clients, members: Vec<Member>) -> anyhow::Result<Self> {
        tokio::time::sleep(SETTLE).await;
        let idle = members.iter().map(|member| Ok(member.memory_mb()?.0));
        let idle_mb = idle.collect::<anyhow::Result<_>>()?;
        Ok(Self { name, clients, members, idle_mb })
    }

    /// Events that are in both stores, of all domains.
    pub async fn events(&self) -> anyhow::Result<u64> {
        Ok(sum(&self.clients.status("").await?.ledger, |row| row.hot.min(row.archived)))
    }

    /// Returns when so many events of a domain are in both stores.
    pub async fn filed(&self, domain: &str, events: u64, patience: Duration) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let status = self.clients.status(domain).await?;
            let (archived, hot) = (sum(&status.ledger, |row| row.archived), sum(&status.ledger, |row| row.hot));
            if archived.min(hot) >= events {
                return Ok(());
            }
            ensure!(began.elapsed() < patience, "{}: of {events} are archived {archived}, hot {hot}", self.name);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// A count over rows of the books.
pub fn sum(rows: &[LedgerRow], count: fn(&LedgerRow) -> u64) -> u64 {
    rows.iter().map(count).sum()
}
