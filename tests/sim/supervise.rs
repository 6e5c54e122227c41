//! Lives of processes, one after the other, and sometimes two beside each other.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use atalaya_chassis::{Shutdown, Trigger};
use atalaya_testkit::{Faults, Life};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::task::{JoinHandle, JoinSet};

use crate::stage::Stage;
use crate::world::World;

/// How long a process lives at most while things go wrong; most die earlier, in the middle of a call.
const LIFE_MS: std::ops::Range<u64> = 200..1_500;

/// Odds that a process is overtaken: its successor runs while it still believes that it holds its leases.
const OVERTAKEN: f64 = 0.3;

/// Odds that a process lives on when things go well again; otherwise a new one begins.
const LIVES_ON: f64 = 0.5;

/// How long a drain may take.
const DRAIN: Duration = Duration::from_secs(30);

/// What every process meets now and then.
const FAULTS: Faults = Faults { crash: 0.01, ..Faults::ROUGH };

/// A world at work.
pub(crate) struct Running {
    calm: Trigger,
    drain: Trigger,
    stages: JoinSet<anyhow::Result<()>>,
}

/// Starts every stage of a world.
pub(crate) fn start(world: &Arc<World>) -> Running {
    let ((calm, calmed), (drain, drained)) = (Shutdown::new(), Shutdown::new());
    let mut stages = JoinSet::new();
    for stage in Stage::all() {
        let mut hasher = DefaultHasher::new();
        (world.seed, stage).hash(&mut hasher);
        let supervisor = Supervisor {
            world: Arc::clone(world),
            stage,
            random: SmallRng::seed_from_u64(hasher.finish()),
            calm: calmed.clone(),
            drain: drained.clone(),
            lives: VecDeque::new(),
        };
        stages.spawn(supervisor.run());
    }
    Running { calm, drain, stages }
}

impl Running {
    /// From now on nothing goes wrong.
    pub(crate) fn calm(&self) {
        self.calm.request();
    }

    /// Waits until a stage ends by itself: none should.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        match self.stages.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Ok(Ok(()))) | None => anyhow::anyhow!("a stage ended by itself"),
            Some(Err(error)) => error.into(),
        }
    }

    /// Ends every stage as a machine that is shut down does.
    pub(crate) async fn drain(mut self) -> anyhow::Result<()> {
        self.drain.request();
        while let Some(ended) = self.stages.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// One process at work.
struct Process {
    life: Arc<Life>,
    trigger: Trigger,
    task: JoinHandle<Option<anyhow::Result<()>>>,
}

struct Supervisor {
    world: Arc<World>,
    stage: Stage,
    random: SmallRng,
    /// Nothing goes wrong any more.
    calm: Shutdown,
    /// Everything is to end well.
    drain: Shutdown,
    /// The newest last; those before it were overtaken.
    lives: VecDeque<Process>,
}

impl Supervisor {
    async fn run(mut self) -> anyhow::Result<()> {
        let calm = self.calm.clone();
        while !calm.is_requested() {
            if self.lives.is_empty() {
                self.begin(FAULTS).await?;
            }
            let ends = Duration::from_millis(self.random.random_range(LIFE_MS));
            let Some(newest) = self.lives.back_mut() else { continue };
            tokio::select! {
                () = calm.requested() => break,
                _ = &mut newest.task => drop(self.lives.pop_back()),
                () = tokio::time::sleep(ends) => {
                    if self.random.random_bool(OVERTAKEN) {
                        self.begin(FAULTS).await?;
                    } else {
                        self.kill_all().await;
                    }
                }
            }
            if self.lives.len() > 2
                && let Some(oldest) = self.lives.pop_front()
            {
                kill(oldest).await;
            }
        }
        self.end_well().await
    }

    /// The last life: until the drain.
    async fn end_well(mut self) -> anyhow::Result<()> {
        let newest = self.lives.pop_back();
        self.kill_all().await;
        let lives_on = self.random.random_bool(LIVES_ON);
        match newest {
            Some(newest) if lives_on && newest.life.heal() && !newest.task.is_finished() => {
                self.lives.push_back(newest);
            }
            newest => {
                if let Some(newest) = newest {
                    kill(newest).await;
                }
                self.begin(Faults::NONE).await?;
            }
        }
        let Some(Process { trigger, mut task, .. }) = self.lives.pop_back() else { return Ok(()) };
        let name = self.stage.name();
        tokio::select! {
            ended = &mut task => anyhow::bail!("{name} ended by itself: {:?}", ended?),
            () = self.drain.requested() => trigger.request(),
        }
        let ended = tokio::time::timeout(DRAIN, task).await.with_context(|| format!("{name} does not drain"))??;
        ended.with_context(|| format!("{name} died in good times"))?.with_context(|| format!("{name} failed"))
    }

    /// A new life. Its leases are taken away from the one before, as if they had run out.
    async fn begin(&mut self, faults: Faults) -> anyhow::Result<()> {
        self.stage.break_leases(&self.world).await?;
        let life = Life::new(self.random.random(), faults);
        let (trigger, shutdown) = Shutdown::new();
        let (stage, world, own) = (self.stage, Arc::clone(&self.world), Arc::clone(&life));
        let task = tokio::spawn(async move { own.run(stage.run(&world, &own, shutdown)).await });
        self.lives.push_back(Process { life, trigger, task });
        Ok(())
    }

    async fn kill_all(&mut self) {
        while let Some(process) = self.lives.pop_front() {
            kill(process).await;
        }
    }
}

async fn kill(process: Process) {
    process.life.crash();
    process.task.abort();
    // Aborted or ended: it is gone either way.
    let _ = process.task.await;
}
