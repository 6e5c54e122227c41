//! Everything filed is found, once, by whom it belongs to and by nobody else.

use std::sync::Arc;

use anyhow::{Result, ensure};
use atalaya_model::Class;

use super::world::{CLASSES, Dice, NOON_US, Seed, TENANTS, World};
use super::{check, lookup, pages};
use crate::kinds::DAY_US;
use crate::{Hot, LookupKind, MAX_PAGE_ROWS};

pub(super) async fn everything_is_found_by_each_kind(hot: Arc<dyn Hot>) -> Result<()> {
    let world = World::random(1, 120)?;
    for messages in world.messages.chunks(7) {
        let filed = hot.file(messages).await?;
        ensure!(filed.len() == messages.len());
        let whole = |(filed, message): (&crate::Filed, &crate::FiledMessage)| {
            (filed.rows, filed.expired) == (message.batch.rows.num_rows() as u64, 0)
        };
        ensure!(filed.iter().zip(messages).all(whole), "{filed:?}");
    }
    hot.sync().await?;
    let found = check_every_kind(hot.as_ref(), &world).await?;
    ensure!(found > 5 * world.rows().len(), "{found} rows found in all");
    Ok(())
}

/// Every value of every kind but events, for every tenant.
async fn check_every_kind(hot: &dyn Hot, world: &World) -> Result<usize> {
    let mut found = 0;
    for kind in LookupKind::ALL.into_iter().filter(|kind| *kind != LookupKind::Event) {
        for value in world.values(kind) {
            for tenant in TENANTS {
                found += check(hot, world, &lookup(tenant, kind, &value, MAX_PAGE_ROWS)).await?;
            }
        }
    }
    Ok(found)
}

pub(super) async fn filing_again_changes_nothing(hot: Arc<dyn Hot>) -> Result<()> {
    let world = World::random(2, 40)?;
    for size in [40, 1, 13] {
        for messages in world.messages.chunks(size) {
            hot.file(messages).await?;
        }
        check_every_kind(hot.as_ref(), &world).await?;
    }
    Ok(())
}

pub(super) async fn a_tenant_never_gets_anothers_rows(hot: Arc<dyn Hot>) -> Result<()> {
    let world = World::random(3, 30)?;
    hot.file(&world.messages).await?;
    for kind in LookupKind::ALL {
        for value in world.values(kind).into_iter().take(40) {
            check(hot.as_ref(), &world, &lookup("nobody", kind, &value, 10)).await?;
        }
    }
    for row in world.rows().iter().take(60) {
        for tenant in TENANTS.into_iter().filter(|tenant| *tenant != row.tenant) {
            let page = hot.lookup(&lookup(tenant, LookupKind::Event, &row.id.to_string(), 1)).await?;
            ensure!(page.rows.is_empty(), "{tenant} got an event of {}", row.tenant);
        }
    }
    Ok(())
}

/// Every row at a time of its own, decades apart and beyond, all of one message.
pub(super) async fn one_wild_time_hides_nothing(hot: Arc<dyn Hot>) -> Result<()> {
    let mut world = World::default();
    for class in CLASSES {
        let times = (-100..100).map(|step| NOON_US + step * 200 * DAY_US);
        let edges = [0, -1, 1, i64::MAX / 2, i64::MIN / 2];
        let seed = |(values, time_us)| Seed { tenant: TENANTS[values % 2], time_us, values: values as u64 };
        let seeds: Vec<_> = times.chain(edges).enumerate().map(seed).collect();
        world.add(class, &seeds)?;
    }
    hot.file(&world.messages).await?;
    check_every_kind(hot.as_ref(), &world).await?;
    Ok(())
}

pub(super) async fn every_event_is_found_by_id(hot: Arc<dyn Hot>) -> Result<()> {
    let world = World::random(4, 40)?;
    hot.file(&world.messages).await?;
    for row in world.rows() {
        let mut wanted = lookup(&row.tenant, LookupKind::Event, &row.id.to_string(), 1);
        ensure!(check(hot.as_ref(), &world, &wanted).await? == 1);
        wanted.to_us = Some(row.time_us);
        ensure!(check(hot.as_ref(), &world, &wanted).await? == 0);
    }
    let absent = lookup("acme", LookupKind::Event, &"0".repeat(32), 1);
    ensure!(hot.lookup(&absent).await?.rows.is_empty());
    Ok(())
}

pub(super) async fn indicators_are_rows(hot: Arc<dyn Hot>) -> Result<()> {
    let mut world = World::default();
    let mut dice = Dice::new(5);
    for at in 0..20 {
        let seed = |step| Seed { tenant: TENANTS[0], time_us: NOON_US + at * DAY_US + step, values: dice.any() };
        let seeds: Vec<_> = (0..10).map(seed).collect();
        world.add(Class::OsintInventoryInfo, &seeds)?;
    }
    for _ in 0..2 {
        hot.file(&world.messages).await?;
        for value in world.values(LookupKind::Indicator) {
            for limit in [1, 3, 1_000] {
                let mut wanted = lookup(TENANTS[0], LookupKind::Indicator, &value, limit);
                check(hot.as_ref(), &world, &wanted).await?;
                wanted.from_us = Some(NOON_US + 5 * DAY_US);
                wanted.to_us = Some(NOON_US + 9 * DAY_US);
                check(hot.as_ref(), &world, &wanted).await?;
            }
        }
    }
    Ok(())
}

pub(super) async fn concurrent_filing_loses_nothing(hot: Arc<dyn Hot>) -> Result<()> {
    let world = Arc::new(World::random(6, 60)?);
    let mut tasks = Vec::new();
    for part in 0..4 {
        let (hot, world) = (Arc::clone(&hot), Arc::clone(&world));
        tasks.push(tokio::spawn(async move {
            // Overlapping parts: some messages are filed twice at the same time.
            for messages in world.messages[part * 13..].chunks(5).take(5) {
                hot.file(messages).await?;
                hot.sync().await?;
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    for tenant in TENANTS {
        check(hot.as_ref(), &world, &lookup(tenant, LookupKind::Tenant, "", 100)).await?;
        check(hot.as_ref(), &world, &lookup(tenant, LookupKind::Cidr, "10.0.0.0/8", 100)).await?;
    }
    Ok(())
}

pub(super) async fn wrong_requests_are_refused(hot: Arc<dyn Hot>) -> Result<()> {
    for (kind, value, limit) in [
        (LookupKind::Ip, "host", 1),
        (LookupKind::Cidr, "10.0.0.0/40", 1),
        (LookupKind::Event, "x", 1),
        (LookupKind::User, "", 1),
        (LookupKind::Tenant, "", 0),
        (LookupKind::Tenant, "", MAX_PAGE_ROWS + 1),
    ] {
        let refused = hot.lookup(&lookup("acme", kind, value, limit)).await;
        ensure!(matches!(refused, Err(crate::HotError::Request(_))), "{kind:?} '{value}' {limit}: {refused:?}");
    }
    ensure!(pages(hot.as_ref(), &lookup("acme", LookupKind::Tenant, "", 1)).await?.len() == 1);
    Ok(())
}
