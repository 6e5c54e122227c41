//! Alerts must be those of a correlator that nobody disturbed, over the same EVT.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use atalaya_bus::Stream;
use atalaya_hot::AlertQuery;
use atalaya_model::{Alert, AlertId, Tenant};
use atalaya_tests::alerts::{decode, newest, same, undisturbed};
use atalaya_tests::events::ids;

use crate::input::{BACKFILL, TENANTS};
use crate::stage;
use crate::world::{PARTITIONS, World};

/// How long the undisturbed correlator may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Alerts of a page: more than there are.
const PAGE_ALERTS: usize = 1_000;

/// The alerts written are those of an undisturbed correlator, and the hot store has the newest version of each.
pub(crate) async fn check(world: &World) -> anyhow::Result<()> {
    let found = decode(&world.all(Stream::Alert, "alert.>").await?)?;
    let (evt, place) = (world.all(Stream::Evt, "evt.>").await?, world.place("undisturbed"));
    let expected = undisturbed(evt, PARTITIONS, &place, stage::correlator(), PATIENCE).await?;
    ensure!(!expected.is_empty(), "the attacks gave no alert");
    ensure!(expected.iter().any(|alert| alert.domain == BACKFILL), "the attacks of the backfill gave no alert");
    same(&found, &expected)?;
    check_hot(world, &expected).await
}

/// Ids of the rows that the alerts written have in the archive.
pub(crate) async fn finding_ids(world: &World) -> anyhow::Result<Vec<Vec<u8>>> {
    let alerts = decode(&world.all(Stream::Alert, "alert.>").await?)?;
    Ok(ids(&atalaya_cold_archive::findings(&alerts)?.rows))
}

async fn check_hot(world: &World, expected: &[Alert]) -> anyhow::Result<()> {
    let newest = newest(expected);
    for tenant in TENANTS {
        let tenant: Tenant = tenant.parse()?;
        let (min_level, domain, token, limit) = (None, None, None, PAGE_ALERTS);
        let query = AlertQuery { tenant: tenant.clone(), from_us: None, to_us: None, min_level, domain, limit, token };
        let page = world.hot.alerts(&query).await?;
        let found: BTreeMap<AlertId, &Alert> = page.rows.iter().map(|row| (row.alert.id, &row.alert)).collect();
        let wanted = newest.iter().filter(|((of, _), _)| **of == tenant);
        let wanted: BTreeMap<AlertId, &Alert> = wanted.map(|((_, id), alert)| (*id, *alert)).collect();
        ensure!(page.rows.len() == wanted.len() && found == wanted, "hot store: alerts of {tenant} differ");
    }
    Ok(())
}
