//! The suite every adapter of the port has to pass. It knows the port and nothing of the adapter.

mod alerts;
mod events;
mod pages;
pub mod world;

use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use crate::{Hot, Lookup, LookupKind, Page};
use world::World;

/// Runs every test, each on a fresh store.
///
/// # Errors
/// The first test that fails, by name.
pub async fn suite(new_hot: impl AsyncFn() -> Result<Arc<dyn Hot>>) -> Result<()> {
    macro_rules! run {
        ($($module:ident :: $test:ident),+ $(,)?) => {
            $(
                $module::$test(new_hot().await?).await.context(concat!(stringify!($module), "::", stringify!($test)))?;
            )+
        };
    }
    run! {
        events::everything_is_found_by_each_kind, events::filing_again_changes_nothing,
        events::a_tenant_never_gets_anothers_rows, events::one_wild_time_hides_nothing,
        events::every_event_is_found_by_id, events::indicators_are_rows, events::concurrent_filing_loses_nothing,
        events::wrong_requests_are_refused,
        pages::every_page_size_gives_the_same_rows, pages::time_ranges_are_exact, pages::equal_times_are_paged,
        pages::pages_are_stable_while_rows_come_in, pages::tokens_belong_to_their_lookup,
        pages::wide_networks_are_exact,
        alerts::the_newest_version_stands, alerts::alerts_are_listed_newest_first,
        alerts::actions_are_folded_in_order_of_time, alerts::a_tenant_never_gets_anothers_alerts,
    }
    Ok(())
}

/// A lookup with nothing but tenant, kind and value.
#[must_use]
pub fn lookup(tenant: &str, kind: LookupKind, value: &str, limit: usize) -> Lookup {
    let tenant = tenant.parse().unwrap_or_default();
    Lookup { tenant, kind, value: value.to_owned(), from_us: None, to_us: None, limit, token: None }
}

/// Pages of one lookup at most, so that a token that leads nowhere ends.
const MAX_PAGES: usize = 100_000;

/// Every page of a lookup, as pages.
///
/// # Errors
/// If a page cannot be read.
pub async fn pages(hot: &dyn Hot, lookup: &Lookup) -> Result<Vec<Page>> {
    let mut pages: Vec<Page> = Vec::new();
    let mut lookup = lookup.clone();
    for _ in 0..MAX_PAGES {
        let page = hot.lookup(&lookup).await?;
        lookup.token.clone_from(&page.next);
        let ended = page.next.is_none();
        pages.push(page);
        if ended {
            return Ok(pages);
        }
    }
    anyhow::bail!("{lookup:?} has no last page")
}

/// Checks that a lookup gives exactly the rows of the world that it should, in order, page by page.
///
/// # Errors
/// If it does not.
pub async fn check(hot: &dyn Hot, world: &World, lookup: &Lookup) -> Result<usize> {
    let expected = world.rows_of(lookup);
    let pages = pages(hot, lookup).await.with_context(|| format!("{lookup:?}"))?;
    let mut found = Vec::with_capacity(expected.len());
    for (at, page) in pages.iter().enumerate() {
        ensure!(page.rows.len() <= lookup.limit, "{lookup:?}: page {at} has {} rows", page.rows.len());
        for hit in &page.rows {
            let tenants = world::tenants_of(&hit.batch);
            ensure!(tenants == [lookup.tenant.as_str()], "{lookup:?}: a batch of {tenants:?}");
            found.push((hit.time_us, world::row_of(hit)));
        }
    }
    ensure!(found.len() == expected.len(), "{lookup:?}: {} rows found, {} expected", found.len(), expected.len());
    for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
        ensure!(found.0 == expected.time_us, "{lookup:?}: row {at} is of {}, not {}", found.0, expected.time_us);
        ensure!(found.1 == expected.json, "{lookup:?}: row {at} is {:?}, not {:?}", found.1, expected.json);
    }
    Ok(found.len())
}
