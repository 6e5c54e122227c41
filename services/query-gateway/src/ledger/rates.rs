//! Events a second over the last 10 minutes, 3 hours and day, and over all time: a ring of slots for each window.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::tally::OTHER;

/// Slots of a ring: a window is known to a sixtieth of its length.
const SLOTS: i64 = RING_SLOTS as i64;
const RING_SLOTS: usize = 60;

/// The windows, microseconds.
const WINDOWS_US: [i64; 3] = [600_000_000, 3 * 3_600_000_000, 24 * 3_600_000_000];

/// Sources that have rates of their own at most, over all tenants.
pub const MAX_SOURCES: usize = 512;

const SECOND_US: i64 = 1_000_000;

/// Events a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Over 10 minutes, 3 hours, 1 day; over the source's age where that is less.
    pub windows: [f64; 3],
    /// Since the first event.
    pub all_time: f64,
}

/// The rates of every source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// By tenant (or `shared`), then source.
    tenants: BTreeMap<String, BTreeMap<String, Meter>>,
    sources: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Meter {
    first_us: i64,
    events: u64,
    rings: [Ring; 3],
}

/// The newest slots of a window; `newest` is the number of the last one since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Ring {
    newest: i64,
    slots: Vec<u64>,
}

impl Rates {
    /// Counts events of a source that were received at a time.
    pub fn add(&mut self, tenant: &str, source: &str, events: u64, at_us: i64) {
        let known = self.tenants.get_mut(tenant).and_then(|sources| sources.get_mut(source));
        if let Some(meter) = known {
            return meter.add(events, at_us);
        }
        let source = if self.sources < MAX_SOURCES { source } else { OTHER };
        let sources = self.tenants.entry(tenant.to_owned()).or_default();
        let meter = sources.entry(source.to_owned()).or_insert_with(|| {
            self.sources += 1;
            Meter { first_us: at_us, events: 0, rings: Default::default() }
        });
        meter.add(events, at_us);
    }

    /// The rates of the sources of tenants that `wanted` picks, summed up by source.
    #[must_use]
    pub fn at(&self, now_us: i64, wanted: impl Fn(&str) -> bool) -> BTreeMap<&str, Rate> {
        let mut rates: BTreeMap<&str, Rate> = BTreeMap::new();
        let meters = self.tenants.iter().filter(|(tenant, _)| wanted(tenant)).flat_map(|(_, sources)| sources);
        for (source, meter) in meters {
            let (sum, rate) = (rates.entry(source).or_default(), meter.rate(now_us));
            sum.all_time += rate.all_time;
            sum.windows.iter_mut().zip(rate.windows).for_each(|(sum, rate)| *sum += rate);
        }
        rates
    }
}

impl Meter {
    fn add(&mut self, events: u64, at_us: i64) {
        self.events += events;
        self.first_us = self.first_us.min(at_us);
        for (ring, window_us) in self.rings.iter_mut().zip(WINDOWS_US) {
            ring.add(events, at_us.div_euclid(window_us / SLOTS));
        }
    }

    fn rate(&self, now_us: i64) -> Rate {
        let age_us = now_us.saturating_sub(self.first_us).max(SECOND_US);
        let mut windows = [0.0; 3];
        for ((rate, ring), window_us) in windows.iter_mut().zip(&self.rings).zip(WINDOWS_US) {
            let events = ring.sum(now_us.div_euclid(window_us / SLOTS));
            *rate = per_second(events, age_us.min(window_us));
        }
        Rate { windows, all_time: per_second(self.events, age_us) }
    }
}

#[allow(clippy::cast_precision_loss, reason = "a rate for people")]
fn per_second(events: u64, span_us: i64) -> f64 {
    events as f64 * SECOND_US as f64 / span_us as f64
}

impl Ring {
    fn add(&mut self, events: u64, slot: i64) {
        if self.slots.is_empty() {
            self.slots = vec![0; RING_SLOTS];
            self.newest = slot;
        }
        for skipped in (self.newest + 1).max(slot - SLOTS + 1)..=slot {
            self.slots[index(skipped)] = 0;
        }
        self.newest = self.newest.max(slot);
        if slot > self.newest - SLOTS {
            self.slots[index(slot)] += events;
        }
    }

    /// Events of the window that ends with a slot.
    fn sum(&self, last: i64) -> u64 {
        if self.slots.is_empty() {
            return 0;
        }
        let first = (last - SLOTS + 1).max(self.newest - SLOTS + 1);
        (first..=self.newest.min(last)).map(|slot| self.slots[index(slot)]).sum()
    }
}

/// A slot's place in its ring.
fn index(slot: i64) -> usize {
    usize::try_from(slot.rem_euclid(SLOTS)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_US: i64 = 60 * SECOND_US;
    const BEGIN_US: i64 = 1_700_000_000 * SECOND_US;

    fn steady(minutes: i64, per_second: u64) -> Rates {
        let mut rates = Rates::default();
        for second in 0..minutes * 60 {
            rates.add("acme", "dns", per_second, BEGIN_US + second * SECOND_US);
        }
        rates
    }

    fn check(rates: &Rates, now_us: i64, expected: [f64; 4]) {
        let found = rates.at(now_us, |_| true)["dns"];
        let found = [found.windows[0], found.windows[1], found.windows[2], found.all_time];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= expected * 0.03 + 0.001, "{found} instead of {expected}");
        }
    }

    #[test]
    fn a_steady_source_has_its_rate_in_every_window() {
        check(&steady(5, 100), BEGIN_US + 5 * MINUTE_US, [100.0; 4]);
        check(&steady(400, 100), BEGIN_US + 400 * MINUTE_US, [100.0; 4]);
    }

    #[test]
    fn what_is_over_leaves_its_window() {
        let rates = steady(60, 100);
        let hours = |hours: i64| BEGIN_US + hours * 60 * MINUTE_US;
        check(&rates, hours(2), [0.0, 50.0, 50.0, 50.0]);
        check(&rates, hours(10), [0.0, 0.0, 10.0, 10.0]);
        check(&rates, hours(100), [0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn what_comes_late_counts_where_it_belongs() {
        let mut rates = steady(60, 100);
        rates.add("acme", "dns", 1_000_000, BEGIN_US - 100 * 60 * MINUTE_US);
        check(&rates, BEGIN_US + 60 * MINUTE_US, [100.0, 33.3, 4.17, 3.74]);
    }

    #[test]
    fn tenants_are_told_apart_and_sources_bounded() {
        let mut rates = Rates::default();
        for number in 0..2 * MAX_SOURCES {
            rates.add("acme", &number.to_string(), 1, BEGIN_US);
        }
        rates.add("globex", "dns", 5, BEGIN_US);
        assert!(rates.at(BEGIN_US, |tenant| tenant == "acme").len() <= MAX_SOURCES + 1);
        assert!(rates.at(BEGIN_US, |tenant| tenant == "globex").contains_key(OTHER));
    }
}
