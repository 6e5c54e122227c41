//! What a list of alerts is asked for: the same checks and the same page tokens for every adapter.

use atalaya_model::Level;

use crate::lookup::bind;
use crate::{AlertQuery, HotError, MAX_PAGE_ROWS};

/// Refuses a page that is too large.
pub(crate) fn check(query: &AlertQuery) -> Result<(), HotError> {
    if (1..=MAX_PAGE_ROWS).contains(&query.limit) {
        return Ok(());
    }
    let reason = format!("a page has 1 to {MAX_PAGE_ROWS} alerts, not {}", query.limit);
    Err(HotError::Request(reason))
}

/// A level as it stands in lists.
pub(crate) fn level_number(level: Level) -> u8 {
    u8::try_from(level.severity_id()).unwrap_or(u8::MAX)
}

/// Whether an alert of this level and domain is asked for.
pub(crate) fn is_listed(query: &AlertQuery, level: u8, domain: &[u8]) -> bool {
    query.min_level.is_none_or(|least| level >= level_number(least))
        && query.domain.as_ref().is_none_or(|wanted| wanted.as_bytes() == domain)
}

/// What the page tokens of a query are bound to.
pub(crate) fn binding(query: &AlertQuery) -> blake3::Hash {
    let text = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let parts = [
        query.tenant.to_string(),
        text(query.from_us.map(|from_us| from_us.to_string())),
        text(query.to_us.map(|to_us| to_us.to_string())),
        text(query.min_level.map(|level| level.name().to_owned())),
        text(query.domain.as_ref().map(|domain| format!("={domain}"))),
    ];
    bind("atalaya alerts 1", &parts.each_ref().map(|part| part.as_bytes()))
}
