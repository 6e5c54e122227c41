//! Who folds: the holder of lease `ledger`; the others read what it stored.

use std::time::Duration;

use atalaya_bus::{Lease, now_us};
use atalaya_chassis::Shutdown;
use tokio::time::MissedTickBehavior;

use super::Ledger;
use super::alarms::Alarms;
use super::keeper::{KeeperError, keep, read};
use super::settle::totals;
use crate::telemetry;

const LEASE: &str = "ledger";
const LEASE_TTL: Duration = Duration::from_secs(10);
const RENEW_EVERY: Duration = Duration::from_secs(3);

/// How often a gateway without the lease reads the ledger, and asks for the lease.
const READ_EVERY: Duration = Duration::from_secs(1);

/// How often the books are looked at for differences.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Keeps the ledger until the drain is asked for, whatever happens.
pub(crate) async fn run(ledger: Ledger, holder: String, shutdown: Shutdown) {
    let looking = watch_differences(ledger.clone(), shutdown.clone());
    let keeping = async {
        while !shutdown.is_requested() {
            if let Err(error) = keep_while_leased(&ledger, &holder, &shutdown).await {
                ledger.note_error(telemetry::ledger_interrupted(&error));
            }
            shutdown.unless_requested(tokio::time::sleep(READ_EVERY)).await;
        }
    };
    tokio::join!(looking, keeping);
}

async fn keep_while_leased(ledger: &Ledger, holder: &str, shutdown: &Shutdown) -> anyhow::Result<()> {
    let leases = ledger.bus.bucket("leases").await?;
    let Some(mut lease) = Lease::acquire(leases, LEASE, holder, LEASE_TTL).await? else {
        return Ok(read_all(ledger).await?);
    };
    let kept = tokio::select! {
        kept = keep_all(ledger, shutdown) => kept.map_err(anyhow::Error::from),
        lost = hold(&mut lease) => lost,
    };
    let released = lease.release().await;
    kept?;
    Ok(released?)
}

/// Renews the lease until it is lost.
async fn hold(lease: &mut Lease) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        anyhow::ensure!(lease.renew().await?, "another gateway holds the lease now");
    }
}

async fn keep_all(ledger: &Ledger, shutdown: &Shutdown) -> Result<(), KeeperError> {
    tokio::try_join!(
        keep(ledger.clone(), |folds| &mut folds.raw, shutdown.clone()),
        keep(ledger.clone(), |folds| &mut folds.evt, shutdown.clone()),
        keep(ledger.clone(), |folds| &mut folds.alert, shutdown.clone()),
        keep(ledger.clone(), |folds| &mut folds.parked, shutdown.clone()),
    )?;
    Ok(())
}

async fn read_all(ledger: &Ledger) -> Result<(), KeeperError> {
    read(ledger, |folds| &mut folds.raw).await?;
    read(ledger, |folds| &mut folds.evt).await?;
    read(ledger, |folds| &mut folds.alert).await?;
    read(ledger, |folds| &mut folds.parked).await?;
    Ok(())
}

async fn watch_differences(ledger: Ledger, shutdown: Shutdown) {
    let mut alarms = Alarms::default();
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.unless_requested(look.tick()).await.is_some() {
        match ledger.floors().await {
            Ok(floors) => {
                let books = ledger.with(|folds| totals(folds, &floors));
                let found = alarms.look(&books, now_us());
                found.iter().filter(|alarm| alarm.new).for_each(|alarm| telemetry::difference_open(&alarm.sentence));
                ledger.lock().alarms = found.into_iter().map(|alarm| alarm.sentence).collect();
            }
            Err(error) => ledger.note_error(telemetry::ledger_interrupted(&error.into())),
        }
    }
}
