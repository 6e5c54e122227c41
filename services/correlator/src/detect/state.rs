//! The groups of a tenant in a domain, by rule: bounded, and looked at when the watermark reaches them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use atalaya_model::Tenant;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize, Serializer};

use super::group::{Detail, Group, Occurrence, Policy, Told};
use crate::watermark::{BEGINNING_US, Clock};

/// Groups that are weighed when one has to go.
const WEIGHED_GROUPS: usize = 8;

/// The groups of one rule.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Vec<(u64, Group)>")]
pub(crate) struct RuleState {
    groups: FxHashMap<u64, Group>,
    /// When to look at which group; an entry counts only if it is what the group itself says.
    timers: BinaryHeap<Reverse<(i64, u64)>>,
    touched: Vec<u64>,
}

impl From<Vec<(u64, Group)>> for RuleState {
    fn from(groups: Vec<(u64, Group)>) -> Self {
        let timers = groups.iter().map(|(key, group)| Reverse((group.timer_us, *key))).collect();
        Self { groups: groups.into_iter().collect(), timers, touched: Vec::new() }
    }
}

impl Serialize for RuleState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_unstable_by_key(|(key, _)| **key);
        serializer.collect_seq(groups)
    }
}

impl RuleState {
    /// An event of a group came; `max_groups` bounds the groups. Answers with how many events were forgotten.
    pub(crate) fn add(
        &mut self,
        policy: &Policy,
        key: u64,
        event: &Occurrence,
        max_groups: usize,
        detail: impl Fn() -> Detail,
    ) -> u64 {
        let mut forgotten = 0;
        if self.groups.len() >= max_groups && !self.groups.contains_key(&key) {
            forgotten = 1;
            if !self.evict() {
                return forgotten;
            }
        }
        let group = self.groups.entry(key).or_insert_with(|| Group::new(policy, &detail));
        let (tell, lost) = group.add(policy, event, &detail);
        if tell && !std::mem::replace(&mut group.touched, true) {
            self.touched.push(key);
        }
        match group.due_us(policy) {
            Some(due_us) if due_us < group.timer_us => {
                group.timer_us = due_us;
                self.timers.push(Reverse((due_us, key)));
            }
            Some(_) => {}
            None => drop(self.groups.remove(&key)),
        }
        forgotten + lost
    }

    /// The lightest of the groups that are due first goes: what is heavy stays, and what has an incident. False if
    /// none can go.
    fn evict(&mut self) -> bool {
        let mut weighed: Vec<(u64, i64, u64)> = Vec::with_capacity(WEIGHED_GROUPS);
        while weighed.len() < WEIGHED_GROUPS {
            let Some(Reverse((due_us, key))) = self.timers.pop() else { break };
            if let Some(group) = self.groups.get(&key).filter(|group| group.timer_us == due_us) {
                weighed.push((group.weight(), due_us, key));
            }
        }
        self.timers.extend(weighed.iter().map(|&(_, due_us, key)| Reverse((due_us, key))));
        let lightest = weighed.iter().filter(|(weight, ..)| *weight < u64::MAX).min();
        lightest.is_some_and(|(.., key)| self.groups.remove(key).is_some())
    }

    /// What is to be told after a batch, in the order the groups were touched.
    pub(crate) fn tell(&mut self, policy: &Policy) -> Vec<Told> {
        let mut told = Vec::new();
        for key in std::mem::take(&mut self.touched) {
            if let Some(group) = self.groups.get_mut(&key) {
                told.append(&mut group.tell(policy));
            }
        }
        told
    }

    /// The watermark moved: what is to be told because of it, in the order the groups were due.
    pub(crate) fn advance(&mut self, policy: &Policy, watermark_us: i64) -> Vec<Told> {
        let mut told = Vec::new();
        while let Some(&Reverse((due_us, key))) =
            self.timers.peek().filter(|Reverse((due_us, _))| *due_us <= watermark_us)
        {
            self.timers.pop();
            let Some(group) = self.groups.get_mut(&key).filter(|group| group.timer_us == due_us) else { continue };
            told.append(&mut group.advance(policy, watermark_us));
            match group.due_us(policy) {
                Some(due_us) => {
                    group.timer_us = due_us;
                    self.timers.push(Reverse((due_us, key)));
                }
                None => drop(self.groups.remove(&key)),
            }
        }
        told
    }

    /// Closes every incident, in the order of the groups' hashes.
    pub(crate) fn close(self, policy: &Policy) -> Vec<Told> {
        let mut groups: Vec<_> = self.groups.into_iter().collect();
        groups.sort_unstable_by_key(|(key, _)| *key);
        groups.iter_mut().flat_map(|(_, group)| group.close(policy)).collect()
    }

    pub(crate) fn groups(&self) -> usize {
        self.groups.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

/// A tenant in a domain.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TenantState {
    /// Never goes back, microseconds since 1970.
    pub(crate) watermark_us: i64,
    /// By index of the rule in the set the state belongs to.
    pub(crate) rules: BTreeMap<usize, RuleState>,
}

impl Default for TenantState {
    fn default() -> Self {
        Self { watermark_us: BEGINNING_US, rules: BTreeMap::new() }
    }
}

impl TenantState {
    /// Takes the watermark forward; false if it is there already.
    pub(crate) fn rise(&mut self, watermark_us: i64) -> bool {
        let rises = watermark_us > self.watermark_us;
        self.watermark_us = self.watermark_us.max(watermark_us);
        rises
    }
}

/// A domain.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Domain {
    pub(crate) clock: Clock,
    pub(crate) tenants: BTreeMap<Tenant, TenantState>,
    /// The message that touched it last, counted from the beginning.
    pub(crate) touched: u64,
}

/// Everything a partition remembers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) domains: BTreeMap<String, Domain>,
    /// The newest received time of any message, microseconds since 1970.
    pub(crate) received_us: i64,
    /// Messages so far.
    pub(crate) messages: u64,
}

impl State {
    /// A message came that was received then.
    pub(crate) fn arrived(&mut self, received_us: i64) {
        self.messages += 1;
        self.received_us = self.received_us.max(received_us);
    }

    /// Groups held, over all domains, tenants and rules.
    pub(crate) fn groups(&self) -> usize {
        let tenants = self.domains.values().flat_map(|domain| domain.tenants.values());
        tenants.flat_map(|tenant| tenant.rules.values()).map(RuleState::groups).sum()
    }
}
