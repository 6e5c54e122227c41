//! Watermarks: how far event time has come, told from the stream alone.
//!
//! Events with a time before the watermark of their tenant and domain are late. A watermark never goes back. The live
//! domain goes on with what is received; a backfill moves only when all its inputs were seen, and ends with the last.

use std::collections::BTreeMap;

use atalaya_model::Tenant;
use serde::{Deserialize, Serialize};

/// Before any event.
pub const BEGINNING_US: i64 = i64::MIN;

/// After every event: a backfill whose inputs are all closed.
pub const END_US: i64 = i64::MAX;

/// Lateness of an input that was never opened by name, microseconds: 15 minutes, as for Zeek.
pub const DEFAULT_LATENESS_US: i64 = 900_000_000;

/// Open inputs of a domain at most; beyond, the one that was silent for longest is forgotten.
pub const MAX_OPEN_INPUTS: usize = 65_536;

/// An input: lane, and number within the lane.
pub type InputKey = (String, u64);

/// What an `open` says of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Whose input it is; none for a source shared by many tenants.
    pub tenant: Option<Tenant>,
    /// How late its events may come, microseconds.
    pub lateness_us: i64,
    /// When it was opened, microseconds since 1970.
    pub received_us: i64,
    /// How many inputs the domain has, where that is known.
    pub domain_inputs: u32,
}

/// The inputs of one domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    live: bool,
    inputs: BTreeMap<InputKey, Input>,
    expected: u32,
    seen: u32,
    lateness_us: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Input {
    tenant: Option<Tenant>,
    lateness_us: i64,
    newest_us: i64,
    received_us: i64,
}

impl Clock {
    /// The clock of a domain without inputs.
    #[must_use]
    pub fn new(live: bool) -> Self {
        Self { live, inputs: BTreeMap::new(), expected: 0, seen: 0, lateness_us: DEFAULT_LATENESS_US }
    }

    /// An input begins. Answers with how many inputs were forgotten for it.
    pub fn open(&mut self, key: InputKey, opening: &Opening) -> usize {
        self.expected = self.expected.max(opening.domain_inputs);
        if self.inputs.contains_key(&key) {
            return 0;
        }
        self.seen += 1;
        self.lateness_us = opening.lateness_us;
        let (tenant, lateness_us, received_us) = (opening.tenant.clone(), opening.lateness_us, opening.received_us);
        self.inputs.insert(key, Input { tenant, lateness_us, newest_us: BEGINNING_US, received_us });
        if self.inputs.len() <= MAX_OPEN_INPUTS {
            return 0;
        }
        let silent = self.inputs.iter().min_by_key(|(_, input)| input.received_us).map(|(key, _)| key.clone());
        usize::from(silent.is_some_and(|key| self.inputs.remove(&key).is_some()))
    }

    /// An input is at the end of its data. In the live domain that takes it to the time of the message.
    pub fn heartbeat(&mut self, key: &InputKey, received_us: i64) {
        let live = self.live;
        if let Some(input) = self.inputs.get_mut(key) {
            input.received_us = input.received_us.max(received_us);
            if live {
                input.newest_us = input.newest_us.max(received_us);
            }
        }
    }

    /// An input ends.
    pub fn close(&mut self, key: &InputKey) {
        self.inputs.remove(key);
    }

    /// Events came from an input; `newest_us` is the largest event time that is believed, if there is one. An input
    /// that is met first by its events counts as opened.
    pub fn events(&mut self, key: &InputKey, newest_us: Option<i64>, received_us: i64) {
        if !self.inputs.contains_key(key) {
            let lateness_us = self.lateness_us;
            self.open(key.clone(), &Opening { tenant: None, lateness_us, received_us, domain_inputs: 0 });
        }
        if let Some(input) = self.inputs.get_mut(key) {
            input.received_us = input.received_us.max(received_us);
            input.newest_us = input.newest_us.max(newest_us.unwrap_or(BEGINNING_US));
        }
    }

    /// The largest event time of an input so far.
    #[must_use]
    pub fn newest_us(&self, key: &InputKey) -> Option<i64> {
        self.inputs.get(key).map(|input| input.newest_us).filter(|&newest_us| newest_us != BEGINNING_US)
    }

    /// The tenant an input belongs to; none if it is shared or unknown.
    #[must_use]
    pub fn tenant(&self, key: &InputKey) -> Option<&Tenant> {
        self.inputs.get(key)?.tenant.as_ref()
    }

    /// Whether this is a backfill whose inputs were all seen and are all closed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        !self.live && self.seen > 0 && self.seen >= self.expected && self.inputs.is_empty()
    }

    /// The watermark of a tenant, microseconds since 1970: the minimum over its open inputs and the shared ones.
    /// `received_us` is the newest received time of the partition: a live input silent for `idle_us` before it does
    /// not count.
    #[must_use]
    pub fn watermark(&self, tenant: &str, received_us: i64, idle_us: i64) -> i64 {
        if self.is_over() {
            return END_US;
        }
        if !self.live && self.seen < self.expected {
            return BEGINNING_US;
        }
        let counts = |input: &&Input| {
            input.tenant.as_ref().is_none_or(|owner| owner.as_str() == tenant)
                && (!self.live || received_us.saturating_sub(input.received_us) < idle_us)
        };
        let inputs = self.inputs.values().filter(counts);
        match inputs.map(|input| input.newest_us.saturating_sub(input.lateness_us)).min() {
            Some(watermark_us) => watermark_us,
            None if self.live => received_us.saturating_sub(self.lateness_us),
            None => BEGINNING_US,
        }
    }
}

#[cfg(test)]
mod tests;
