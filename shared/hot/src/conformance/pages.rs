//! Pages: whatever their size, the same rows in the same order.

use std::sync::Arc;

use anyhow::{Result, ensure};
use atalaya_model::Class;

use super::world::{CLASSES, Dice, NOON_US, Seed, TENANTS, World, row_of};
use super::{check, lookup};
use crate::kinds::{DAY_US, HOUR_US};
use crate::{Hot, HotError, LookupKind};

pub(super) async fn every_page_size_gives_the_same_rows(hot: Arc<dyn Hot>) -> Result<()> {
    let world = World::random(11, 25)?;
    hot.file(&world.messages).await?;
    let kinds = [
        (LookupKind::Tenant, ""),
        (LookupKind::Ip, "10.1.0.3"),
        (LookupKind::Cidr, "10.1.0.0/24"),
        (LookupKind::Domain, "example.com"),
        (LookupKind::Domain, "tunnel.evil.test"),
        (LookupKind::User, "ann"),
    ];
    for (kind, value) in kinds {
        for limit in [1, 2, 3, 5, 8, 13, 50, 1_000] {
            check(hot.as_ref(), &world, &lookup(TENANTS[0], kind, value, limit)).await?;
        }
    }
    let all = world.rows_of(&lookup(TENANTS[1], LookupKind::SrcIp, "10.1.0.1", 1)).len();
    for limit in 1..=all + 1 {
        check(hot.as_ref(), &world, &lookup(TENANTS[1], LookupKind::SrcIp, "10.1.0.1", limit)).await?;
    }
    Ok(())
}

pub(super) async fn time_ranges_are_exact(hot: Arc<dyn Hot>) -> Result<()> {
    let world = World::random(12, 60)?;
    hot.file(&world.messages).await?;
    let mut dice = Dice::new(13);
    let mut found = 0;
    for round in 0..120 {
        let around = |dice: &mut Dice| NOON_US + (dice.below(96).cast_signed() - 60) * HOUR_US;
        let exact = world.rows()[usize::try_from(dice.below(world.rows().len() as u64))?].time_us;
        let (from_us, to_us) = match round % 4 {
            0 => (Some(around(&mut dice)), Some(around(&mut dice))),
            1 => (Some(exact), Some(exact + 1)),
            2 => (None, Some(exact)),
            _ => (Some(exact), None),
        };
        for (kind, value) in [(LookupKind::Tenant, ""), (LookupKind::Ip, "10.1.0.2"), (LookupKind::Cidr, "10.1.0.0/30")]
        {
            let mut wanted = lookup(TENANTS[round % 3], kind, value, [3, 40, 1_000][round % 3]);
            (wanted.from_us, wanted.to_us) = (from_us, to_us);
            found += check(hot.as_ref(), &world, &wanted).await?;
        }
    }
    ensure!(found > 1_000, "{found} rows found in all");
    Ok(())
}

/// Hundreds of rows of several messages and classes at the same microsecond.
pub(super) async fn equal_times_are_paged(hot: Arc<dyn Hot>) -> Result<()> {
    let mut world = World::default();
    let mut dice = Dice::new(14);
    for at in 0..30 {
        let seed = |_| Seed { tenant: TENANTS[0], time_us: NOON_US + i64::from(at % 3 == 0), values: dice.any() };
        let seeds: Vec<_> = (0..20).map(seed).collect();
        world.add(CLASSES[at % 3], &seeds)?;
    }
    hot.file(&world.messages).await?;
    for limit in [1, 7, 100, 1_000] {
        for (kind, value) in [(LookupKind::Tenant, ""), (LookupKind::Ip, "10.1.0.5"), (LookupKind::Domain, "evil.test")]
        {
            check(hot.as_ref(), &world, &lookup(TENANTS[0], kind, value, limit)).await?;
        }
    }
    Ok(())
}

/// While a reader turns pages, rows come in before, between and behind: what was there is shown once, in order.
pub(super) async fn pages_are_stable_while_rows_come_in(hot: Arc<dyn Hot>) -> Result<()> {
    let mut world = World::random(15, 40)?;
    hot.file(&world.messages).await?;
    let before = world.rows_of(&lookup(TENANTS[0], LookupKind::Tenant, "", 1));
    let mut wanted = lookup(TENANTS[0], LookupKind::Tenant, "", 37);
    let mut dice = Dice::new(16);
    let mut shown = Vec::new();
    loop {
        let page = hot.lookup(&wanted).await?;
        shown.extend(page.rows.iter().map(|hit| (std::cmp::Reverse(hit.time_us), row_of(hit))));
        let Some(next) = page.next else { break };
        wanted.token = Some(next);
        let seed = |_| {
            let time_us = NOON_US + (dice.below(80).cast_signed() - 40) * HOUR_US;
            Seed { tenant: TENANTS[0], time_us, values: dice.any() }
        };
        let seeds: Vec<_> = (0..30).map(seed).collect();
        let message = world.add(Class::DnsActivity, &seeds)?.clone();
        hot.file(&[message]).await?;
    }
    ensure!(shown.is_sorted_by_key(|(time, _)| *time), "pages are out of order");
    let mut ids: Vec<_> = shown.iter().filter_map(|(_, row)| row.get("event_id").and_then(|id| id.as_str())).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    ensure!(ids.len() == count, "{} rows were shown twice", count - ids.len());
    let missing = before.iter().filter(|row| ids.binary_search(&row.id.to_string().as_str()).is_err()).count();
    ensure!(missing == 0, "{missing} rows were not shown");
    Ok(())
}

pub(super) async fn tokens_belong_to_their_lookup(hot: Arc<dyn Hot>) -> Result<()> {
    let world = World::random(17, 10)?;
    hot.file(&world.messages).await?;
    let mut first = lookup(TENANTS[0], LookupKind::Tenant, "", 2);
    let token = hot.lookup(&first).await?.next.ok_or_else(|| anyhow::anyhow!("there is more than one page"))?;
    first.token = Some(token.clone());
    ensure!(hot.lookup(&first).await?.rows.len() == 2);
    let mut others = vec![
        lookup(TENANTS[1], LookupKind::Tenant, "", 2),
        lookup(TENANTS[0], LookupKind::SrcIp, "10.1.0.1", 2),
        lookup(TENANTS[0], LookupKind::Tenant, "other", 2),
    ];
    let mut ranged = first.clone();
    ranged.to_us = Some(NOON_US);
    others.push(ranged);
    for mut other in others {
        other.token = Some(token.clone());
        ensure!(matches!(hot.lookup(&other).await, Err(HotError::Request(_))), "{other:?}");
    }
    Ok(())
}

/// More addresses than are looked up one by one.
pub(super) async fn wide_networks_are_exact(hot: Arc<dyn Hot>) -> Result<()> {
    let mut world = World::default();
    let mut dice = Dice::new(18);
    for at in 0..40 {
        let seed = |step: i64| {
            let time_us = NOON_US + (at % 3) * DAY_US + step * 1_000;
            Seed { tenant: TENANTS[0], time_us, values: dice.any() }
        };
        let seeds: Vec<_> = (0..200).map(seed).collect();
        world.add(Class::NetworkActivity, &seeds)?;
    }
    hot.file(&world.messages).await?;
    for network in ["0.0.0.0/0", "10.1.2.0/24", "10.1.0.0/29", "::/0"] {
        check(hot.as_ref(), &world, &lookup(TENANTS[0], LookupKind::Cidr, network, 700)).await?;
    }
    Ok(())
}
