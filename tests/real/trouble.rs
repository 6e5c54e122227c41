//! What is done to a mesh, and when: by seed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;

use crate::mesh::{LEASE, Mesh};
use crate::say;
use crate::servers::Server;

/// Kills of each server. One of Cassandra costs most of a minute of two cores.
const SERVER_KILLS: [(Server, usize); 3] = [(Server::Nats, 3), (Server::S3, 2), (Server::Cassandra, 2)];

/// Kills of processes besides one of each.
const MORE_KILLS: usize = 8;

/// Writers that are held beyond their lease.
const HELD: [&str; 4] = ["normalizer", "correlator", "hot-store", "cold-archive"];

/// How long a process stays away, and how long it is until the next trouble, milliseconds.
const AWAY_MS: std::ops::Range<u64> = 50..2_500;
const NEXT_MS: std::ops::Range<u64> = 300..3_500;

/// One trouble; processes by their number in the mesh.
#[derive(Clone, Copy)]
enum Trouble {
    Kill(usize),
    KillServer(Server),
    /// SIGSTOP, and SIGCONT when somebody else may have taken its work.
    Hold(usize),
}

/// A trouble with its times.
struct Step {
    trouble: Trouble,
    away: Duration,
    next: Duration,
}

/// What a seed makes of a mesh.
struct Plan(Vec<Step>);

impl Plan {
    fn new(mesh: &Mesh, seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let workers = mesh.processes.all();
        let mut troubles: Vec<Trouble> = (0..workers.len()).map(Trouble::Kill).collect();
        troubles.extend((0..MORE_KILLS).map(|_| Trouble::Kill(random.random_range(0..workers.len()))));
        for (server, kills) in SERVER_KILLS {
            troubles.extend(std::iter::repeat_n(Trouble::KillServer(server), kills));
        }
        for service in HELD {
            let number = workers.iter().position(|worker| worker.name == format!("{service}-1"));
            troubles.extend(number.map(Trouble::Hold));
        }
        troubles.shuffle(&mut random);
        let mut ms = |range: std::ops::Range<u64>| Duration::from_millis(random.random_range(range));
        let steps = troubles.into_iter().map(|trouble| Step { trouble, away: ms(AWAY_MS), next: ms(NEXT_MS) });
        Self(steps.collect())
    }

    fn kills(&self) -> usize {
        self.0.iter().filter(|step| !matches!(step.trouble, Trouble::Hold(_))).count()
    }
}

/// Troubles a mesh; at the end all of it runs.
pub(crate) async fn make(mesh: &Mesh, seed: u64) -> anyhow::Result<()> {
    let plan = Plan::new(mesh, seed);
    say(&format!("{} kills, {} held", plan.kills(), plan.0.len() - plan.kills()));
    let mut coming_back = JoinSet::new();
    for (number, step) in plan.0.iter().enumerate() {
        let told = Told { mesh, trouble: step.trouble };
        say(&format!("{:>3} of {}: {told} for {:.1} s", number + 1, plan.0.len(), step.away.as_secs_f64()));
        match step.trouble {
            Trouble::Kill(at) => {
                let worker = &mesh.processes.all()[at];
                worker.kill();
                tokio::time::sleep(step.away).await;
                mesh.processes.launch(worker)?;
            }
            Trouble::Hold(at) => {
                let worker = &mesh.processes.all()[at];
                worker.signal("STOP")?;
                tokio::time::sleep(LEASE * 2 + step.away).await;
                worker.signal("CONT")?;
            }
            Trouble::KillServer(server) => {
                // It takes its time to come back: the next trouble does not wait for it.
                let (servers, away) = (Arc::clone(&mesh.servers), step.away);
                coming_back.spawn_blocking(move || {
                    servers.kill(server);
                    std::thread::sleep(away);
                    servers.restart(server).with_context(|| format!("{server:?} does not come back"))
                });
            }
        }
        tokio::time::sleep(step.next).await;
    }
    while let Some(back) = coming_back.join_next().await {
        back??;
    }
    say("no more trouble");
    Ok(())
}

/// A trouble as a person reads it.
struct Told<'m> {
    mesh: &'m Mesh,
    trouble: Trouble,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let worker = |at: usize| self.mesh.processes.all()[at].name.as_str();
        match self.trouble {
            Trouble::Kill(at) => write!(f, "kill -9 {}", worker(at)),
            Trouble::KillServer(server) => write!(f, "kill -9 {server:?}"),
            Trouble::Hold(at) => write!(f, "hold {} beyond its lease and", worker(at)),
        }
    }
}
