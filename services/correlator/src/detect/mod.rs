//! The detector: events and controls of one partition in, alerts out. Pure: a function of what came before.
//!
//! Every rule that writes alerts counts: a plain detection rule every match, per entity, from one on; a correlation what
//! it says, an event once for each of its rules that matches it. Windows, incidents and their limits are those of
//! [`window`] and [`group`].

pub mod deferred;
pub mod group;
pub mod window;

mod alerts;
mod count;
mod image;
mod rows;
mod state;
mod tracks;

use std::sync::Arc;

use atalaya_model::{Alert, LIVE_DOMAIN, SHARED};
use atalaya_proto::raw_v1::{Entry, RawHeader};
use atalaya_schema::EventBatch;

use alerts::Teller;
use count::{Counting, Times};
use group::Told;
use state::{Domain, State};
use tracks::Tracks;

pub use image::ImageError;

use crate::engine::Engine;
use crate::sigma::RuleSet;
use crate::watermark::{Clock, END_US, InputKey, Opening};

/// Backfills and replays of a partition at most; beyond, the one not heard of for longest is ended.
pub const MAX_DOMAINS: usize = 256;

/// A rule set, ready to work.
#[derive(Debug)]
pub struct Compiled {
    /// The rules.
    pub set: RuleSet,
    engine: Engine,
    tracks: Tracks,
}

impl Compiled {
    /// Compiles a rule set.
    ///
    /// # Errors
    /// If the rules are together more than a matcher can hold.
    pub fn new(set: RuleSet) -> Result<Self, String> {
        let (engine, tracks) = (Engine::new(&set)?, Tracks::new(&set));
        Ok(Self { set, engine, tracks })
    }

    fn alerts(&self, teller: &Teller<'_>, rule: usize, told: Vec<Told>) -> impl Iterator<Item = Alert> {
        let known = self.set.rules.get(rule).zip(self.tracks.policy(rule));
        told.into_iter().filter_map(move |told| known.map(|(rule, policy)| teller.alert(rule, policy, told)))
    }
}

/// What bounds a detector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Groups of one rule of one tenant in one domain.
    pub groups_per_rule: usize,
    /// How long a live input may be silent before the watermark goes on without it, microseconds.
    pub idle_us: i64,
}

/// A message's place among the inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival<'m> {
    /// The lane.
    pub lane: &'m str,
    /// The input within the lane.
    pub input: u64,
    /// `live`, or the backfill or replay.
    pub domain: &'m str,
    /// When it was received, microseconds since 1970.
    pub received_us: i64,
}

impl Arrival<'_> {
    fn input_key(&self) -> InputKey {
        (self.lane.to_owned(), self.input)
    }
}

/// What follows from a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// In order.
    pub alerts: Vec<Alert>,
    /// Events that came later than the lateness allows.
    pub late: u64,
    /// Events that were forgotten because a limit was reached.
    pub forgotten: u64,
}

/// One partition's detector.
#[derive(Debug)]
pub struct Detector {
    compiled: Arc<Compiled>,
    limits: Limits,
    state: State,
}

impl Detector {
    /// One that has seen nothing.
    #[must_use]
    pub fn new(compiled: Arc<Compiled>, limits: Limits) -> Self {
        Self { compiled, limits, state: State::default() }
    }

    /// The rules it works with.
    #[must_use]
    pub fn rules(&self) -> &Arc<Compiled> {
        &self.compiled
    }

    /// Groups held.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.state.groups()
    }

    /// An input's open, heartbeat or close came.
    pub fn control(&mut self, arrival: &Arrival<'_>, header: &RawHeader) -> Output {
        let mut output = Output::default();
        self.state.arrived(arrival.received_us);
        if header.entry() != Entry::Open && !self.state.domains.contains_key(arrival.domain) {
            return output;
        }
        let clock = &mut self.domain(arrival.domain, &mut output).clock;
        let key = arrival.input_key();
        match header.entry() {
            Entry::Open => {
                let tenant = if header.tenant == SHARED { None } else { header.tenant.parse().ok() };
                let (lateness_us, received_us) = (header.lateness_us, arrival.received_us);
                let opening = Opening { tenant, lateness_us, received_us, domain_inputs: header.domain_inputs };
                clock.open(key, &opening);
            }
            Entry::Heartbeat => clock.heartbeat(&key, arrival.received_us),
            Entry::Close => clock.close(&key),
            Entry::Records | Entry::Mark | Entry::Unspecified => {}
        }
        self.advance(arrival.domain, &mut output);
        output
    }

    /// Events came.
    pub fn events(&mut self, arrival: &Arrival<'_>, batch: &EventBatch) -> Output {
        let mut output = Output::default();
        self.state.arrived(arrival.received_us);
        let (compiled, limits) = (Arc::clone(&self.compiled), self.limits.clone());
        let matches = compiled.engine.matches(batch);
        let (key, times) = (arrival.input_key(), Times::new(&batch.rows));
        let newest_received_us = self.state.received_us;
        let Domain { clock, tenants, .. } = self.domain(arrival.domain, &mut output);
        let mut counting = Counting::new(&compiled, &limits, batch, &matches, &times);
        counting.stand_in_us = clock.newest_us(&key).or(times.newest_us).unwrap_or(arrival.received_us);
        counting.received_us = arrival.received_us;
        for run in &batch.runs {
            let rows = run.first as usize..(run.first + run.rows) as usize;
            let tenant = tenants.entry(run.tenant.clone()).or_default();
            tenant.rise(clock.watermark(run.tenant.as_str(), newest_received_us, limits.idle_us));
            output.late += times.late(rows.clone(), tenant.watermark_us);
            output.forgotten += counting.count(rows, tenant);
            let teller = Teller { tenant: &run.tenant, domain: arrival.domain };
            for (&rule, state) in &mut tenant.rules {
                if let Some(policy) = compiled.tracks.policy(rule) {
                    output.alerts.extend(compiled.alerts(&teller, rule, state.tell(policy)));
                }
            }
        }
        clock.events(&key, times.newest_us, arrival.received_us);
        self.advance(arrival.domain, &mut output);
        output
    }

    fn domain(&mut self, name: &str, output: &mut Output) -> &mut Domain {
        if self.state.domains.len() >= MAX_DOMAINS && !self.state.domains.contains_key(name) {
            let idle = self.state.domains.iter().filter(|(name, _)| *name != LIVE_DOMAIN);
            if let Some(oldest) = idle.min_by_key(|(_, domain)| domain.touched).map(|(name, _)| name.clone()) {
                self.advance_to(&oldest, Some(END_US), output);
                self.state.domains.remove(&oldest);
            }
        }
        let new = || Domain { clock: Clock::new(name == LIVE_DOMAIN), tenants: Default::default(), touched: 0 };
        let domain = self.state.domains.entry(name.to_owned()).or_insert_with(new);
        domain.touched = self.state.messages;
        domain
    }

    /// Takes a domain's tenants to their watermarks, and lets go of a domain that is over.
    fn advance(&mut self, name: &str, output: &mut Output) {
        self.advance_to(name, None, output);
        if self.state.domains.get(name).is_some_and(|domain| domain.clock.is_over()) {
            self.state.domains.remove(name);
        }
    }

    fn advance_to(&mut self, name: &str, watermark_us: Option<i64>, output: &mut Output) {
        let (received_us, compiled) = (self.state.received_us, Arc::clone(&self.compiled));
        let Some(Domain { clock, tenants, .. }) = self.state.domains.get_mut(name) else { return };
        for (tenant, state) in tenants {
            let watermark = || clock.watermark(tenant.as_str(), received_us, self.limits.idle_us);
            if !state.rise(watermark_us.unwrap_or_else(watermark)) {
                continue;
            }
            let teller = Teller { tenant, domain: name };
            for (&rule, groups) in &mut state.rules {
                if let Some(policy) = compiled.tracks.policy(rule) {
                    let told = groups.advance(policy, state.watermark_us);
                    output.alerts.extend(compiled.alerts(&teller, rule, told));
                }
            }
            state.rules.retain(|_, groups| !groups.is_empty());
        }
    }

    /// Goes on with other rules: groups of rules that stayed the same are kept, incidents of the others are closed.
    pub fn switch(&mut self, compiled: Arc<Compiled>) -> Vec<Alert> {
        let before = std::mem::replace(&mut self.compiled, compiled);
        let places = image::places(&before.set, &self.compiled);
        let mut alerts = Vec::new();
        for (name, domain) in &mut self.state.domains {
            for (tenant, state) in &mut domain.tenants {
                let teller = Teller { tenant, domain: name };
                for (rule, groups) in std::mem::take(&mut state.rules) {
                    match (places.get(&rule), before.tracks.policy(rule)) {
                        (Some(&place), _) => drop(state.rules.insert(place, groups)),
                        (None, Some(policy)) => alerts.extend(before.alerts(&teller, rule, groups.close(policy))),
                        (None, None) => {}
                    }
                }
            }
        }
        alerts
    }
}

#[cfg(test)]
mod tests;
