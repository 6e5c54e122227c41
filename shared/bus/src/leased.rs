//! The loop of everything that works under a lease: wait for it, work, and after a stop wait as long as its reason asks.

use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use tokio::time::sleep;

use crate::{BusError, Claim, Lease, LeaseError, WriteError};

/// Pause before work that failed is taken up again.
const FAILED_PAUSE: Duration = Duration::from_secs(1);

/// Pause before work that met a hole or something unreadable is taken up again: somebody has to repair it.
const DAMAGED_PAUSE: Duration = Duration::from_secs(30);

/// Something stored that cannot be read or used: it stays so until somebody has looked.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Damage(Box<dyn Error + Send + Sync>);

impl Damage {
    /// Says of an error that trying again is of no use.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

/// Why work under a lease stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The lease was lost: it is waited for again.
    Lost,
    /// The lease was left to another process of the group, as it should be.
    Left,
    /// It may work next time.
    Failed,
    /// Somebody has to look.
    Damaged,
}

impl Stop {
    /// What an error says, or one that it comes from.
    #[must_use]
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            let bus = error.downcast_ref::<BusError>().or_else(|| match error.downcast_ref::<WriteError>() {
                Some(WriteError::Bus(error)) => Some(error),
                _ => None,
            });
            let damaged = matches!(bus, Some(BusError::Damaged { .. } | BusError::Mismatch(_) | BusError::Gap { .. }));
            if damaged || error.is::<Damage>() {
                return Self::Damaged;
            }
            match error.downcast_ref() {
                Some(LeaseError::Lost(_)) => return Self::Lost,
                Some(LeaseError::Left(_)) => return Self::Left,
                _ => {}
            }
            cause = error.source();
        }
        Self::Failed
    }

    /// How long to leave it alone: a second for a failure, half a minute for damage.
    #[must_use]
    pub const fn pause(self) -> Duration {
        match self {
            Self::Lost | Self::Left => Duration::ZERO,
            Self::Failed => FAILED_PAUSE,
            Self::Damaged => DAMAGED_PAUSE,
        }
    }
}

/// Takes a lease whenever it is free and works under it, until the drain is asked for and the work at hand has ended.
/// Work that ends well before is begun again at once, and a lease that was left to another is waited for; every other
/// end is told.
pub async fn work_leased<W, E>(
    claim: &Claim,
    drain: impl Future<Output = ()>,
    mut work: impl FnMut(Lease) -> W,
    mut tell: impl FnMut(Stop, &E),
) where
    W: Future<Output = Result<(), E>>,
    E: From<LeaseError> + AsRef<dyn Error + Send + Sync>,
{
    let mut drain = pin!(drain);
    loop {
        let lease = tokio::select! {
            biased;
            () = &mut drain => return,
            lease = Lease::wait(claim, |error| tell(Stop::Failed, &error.into())) => lease,
        };
        let Err(error) = work(lease).await else { continue };
        let stop = Stop::of(error.as_ref());
        if stop == Stop::Left {
            tracing::info!("{}", error.as_ref());
            continue;
        }
        tell(stop, &error);
        tokio::select! {
            biased;
            () = &mut drain => return,
            () = sleep(stop.pause()) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use anyhow::Context;
    use tokio::sync::Notify;
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::journal::{Journal, Options};
    use crate::{Bucket, Bus, Group, Stream};

    const TTL: Duration = Duration::from_millis(300);
    const PATIENCE: Duration = Duration::from_secs(20);

    struct World {
        _directory: tempfile::TempDir,
        leases: Arc<dyn Bucket>,
        claim: Claim,
    }

    async fn world() -> World {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { sync: false, ..Options::default() };
        let bus = Journal::open(directory.path(), &options).unwrap();
        let leases = bus.bucket("leases").await.unwrap();
        let claim = Claim { group: Group::join(Arc::clone(&leases), "me", TTL, 1), name: "a".into() };
        World { _directory: directory, leases, claim }
    }

    #[test]
    fn errors_say_how_long_to_wait() {
        let io = || BusError::Io("gone".into());
        let hole = || BusError::Mismatch("another".into());
        let gap = BusError::Gap { stream: Stream::Evt, expected: 1, found: 9 };
        let unreadable = anyhow::anyhow!("no rows").context("EVT 7");
        for (error, stop) in [
            (anyhow::anyhow!("anything"), Stop::Failed),
            (io().into(), Stop::Failed),
            (WriteError::from(io()).into(), Stop::Failed),
            (hole().into(), Stop::Damaged),
            (anyhow::Error::from(gap).context("reading").context("partition 3"), Stop::Damaged),
            (anyhow::Error::from(WriteError::from(hole())).context("writing"), Stop::Damaged),
            (anyhow::Error::from(Damage::new(unreadable)).context("partition 3"), Stop::Damaged),
            (LeaseError::Lost("a".into()).into(), Stop::Lost),
        ] {
            assert_eq!(Stop::of(error.as_ref()), stop, "{error:#}");
        }
        let chain = format!("{:#}", anyhow::Error::from(Damage::new(anyhow::anyhow!("no rows").context("EVT 7"))));
        assert_eq!(chain, "EVT 7: no rows");
    }

    /// Work that takes many times to live goes on under one lease; a drain ends it.
    #[tokio::test]
    async fn a_lease_is_renewed_while_work_goes_on() {
        let world = world().await;
        let (drain, begun) = (Notify::new(), AtomicUsize::new(0));
        let work = |lease: Lease| {
            lease.hold(async {
                begun.fetch_add(1, Ordering::Relaxed);
                sleep(TTL * 4).await;
                let taken = Lease::acquire(Arc::clone(&world.leases), "a", "you", TTL).await?;
                anyhow::ensure!(taken.is_none(), "two hold it");
                drain.notify_one();
                Ok(())
            })
        };
        let working = work_leased(&world.claim, drain.notified(), work, |_, error| panic!("{error:#}"));
        timeout(PATIENCE, working).await.unwrap();
        assert_eq!(begun.load(Ordering::Relaxed), 1);
        let free = Lease::acquire(Arc::clone(&world.leases), "a", "you", TTL).await.unwrap();
        assert!(free.is_some(), "given back");
    }

    /// A lease that is gone ends the work where it stands, and it is begun again once the lease is free.
    #[tokio::test]
    async fn work_under_a_lost_lease_is_dropped() {
        let world = world().await;
        let (drain, mut begun, mut stops) = (Notify::new(), 0, Vec::new());
        let work = |lease: Lease| {
            begun += 1;
            let (last, leases, drain) = (begun == 2, &world.leases, &drain);
            lease.hold(async move {
                if last {
                    drain.notify_one();
                    return anyhow::Ok(());
                }
                leases.delete("a").await?;
                let other = Lease::acquire(Arc::clone(leases), "a", "you", TTL).await?;
                other.context("a lease that is gone is refused")?;
                std::future::pending().await
            })
        };
        let working = work_leased(&world.claim, drain.notified(), work, |stop, _| stops.push(stop));
        timeout(PATIENCE, working).await.unwrap();
        assert_eq!((begun, stops), (2, vec![Stop::Lost]));
    }

    /// What failed is tried again soon, what is damaged much later, and a drain waits for neither.
    #[tokio::test]
    async fn a_stop_is_told_and_waited_for() {
        let world = world().await;
        let (drain, mut begun) = (Notify::new(), Vec::new());
        let mut stops = Vec::new();
        let work = |lease: Lease| {
            begun.push(Instant::now());
            let error = if begun.len() < 2 { BusError::Io("x".into()) } else { BusError::Mismatch("y".into()) };
            lease.hold(async { Err(anyhow::Error::from(error)) })
        };
        let tell = |stop, _: &anyhow::Error| {
            stops.push(stop);
            if stop == Stop::Damaged {
                drain.notify_one();
            }
        };
        timeout(PATIENCE, work_leased(&world.claim, drain.notified(), work, tell)).await.unwrap();
        assert_eq!(stops, [Stop::Failed, Stop::Damaged]);
        assert!(begun[1] - begun[0] >= FAILED_PAUSE);
        assert!(Stop::Damaged.pause() == DAMAGED_PAUSE && DAMAGED_PAUSE > PATIENCE);
    }
}
