//! The core: alerts in, messages to deliver out. A function of its input, the outbox and the time given.

use std::collections::{BTreeSet, HashMap, HashSet};

use atalaya_model::{Alert, AlertState, Books, Counts, NotificationId, Receiver, Tenant};

use crate::episode::{End, Episode, Group, Leg, Place, ledger_key};
use crate::retry::Retry;
use crate::routes::{Routes, Way};
use crate::silences::Silences;

/// Episodes of a partition at most; beyond, quiet ones are forgotten, and then alerts are undeliverable.
pub const MAX_EPISODES: usize = 10_000;

/// Messages on their way to one receiver at most; beyond, what would need another one is undeliverable.
pub const MAX_PENDING_PER_RECEIVER: usize = 5_000;

/// The grouping of one partition.
pub struct Grouping {
    routes: Routes,
    retry: Retry,
    episodes: HashMap<NotificationId, Episode>,
    /// The newest last: the one that takes the group's alerts, unless it is over.
    by_group: HashMap<Group, Vec<NotificationId>>,
    agenda: BTreeSet<(i64, NotificationId)>,
    outstanding: HashMap<(Tenant, Receiver), usize>,
    changed: HashSet<NotificationId>,
    settled: Books,
}

/// What was counted at once because no episode counts it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Intake {
    /// Alerts silenced or without a route, and alerts beyond [`MAX_EPISODES`].
    pub books: Books,
    /// How many of them were beyond it.
    pub refused: u64,
}

/// One attempt to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The episode.
    pub episode: NotificationId,
    /// Which of its legs.
    pub leg: usize,
    /// The message's name: the idempotency key.
    pub id: NotificationId,
    /// Where to.
    pub receiver: Receiver,
    /// What to say.
    pub payload: String,
    /// Attempts before this one.
    pub attempts: u32,
}

/// How an attempt went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver took it.
    Delivered,
    /// Not now; the receiver may have said how long to wait, microseconds.
    Failed {
        /// Why.
        reason: String,
        /// The receiver's own wish.
        retry_after_us: Option<i64>,
    },
    /// Never.
    Refused {
        /// Why.
        reason: String,
    },
}

impl Grouping {
    /// The grouping with what stands in the outbox.
    #[must_use]
    pub fn resume(routes: Routes, retry: Retry, entries: Vec<Episode>, now_us: i64) -> Self {
        let mut grouping = Self {
            routes,
            retry,
            episodes: HashMap::new(),
            by_group: HashMap::new(),
            agenda: BTreeSet::new(),
            outstanding: HashMap::new(),
            changed: HashSet::new(),
            settled: Books::default(),
        };
        let mut entries = entries;
        entries.sort_by_key(|episode| episode.since);
        for episode in entries {
            if let Some(older) = grouping.current(&episode.group) {
                grouping.change(older, |episode| episode.supersede(now_us));
            }
            grouping.settled.add(&episode.group.ledger_key(), episode.settled.counts());
            grouping.add(episode);
        }
        grouping
    }

    /// Takes the alerts of one ALERT message in. Taking the same message in again changes nothing.
    pub fn intake(&mut self, sequence: u64, alerts: &[Alert], silences: &Silences, now_us: i64) -> Intake {
        let mut intake = Intake::default();
        for (alert, ordinal) in alerts.iter().zip(0_u32..) {
            self.take(alert, (sequence, ordinal), silences.cover(alert, now_us), now_us, &mut intake);
        }
        intake
    }

    fn take(&mut self, alert: &Alert, place: Place, silenced: bool, now_us: i64, intake: &mut Intake) {
        let group = Group::of(alert);
        if self.episodes_of(&group).any(|episode| (episode.since..=episode.applied).contains(&place)) {
            return;
        }
        let id = match self.current(&group) {
            Some(id) => id,
            None if alert.state != AlertState::Opened => return,
            None => {
                let ways = if silenced { Vec::new() } else { self.routes.of(alert) };
                let Some(id) = self.begin(alert, place, ways, intake) else { return };
                id
            }
        };
        let Some(mut episode) = self.take_out(id) else { return };
        let before = episode.settled.counts();
        let outstanding = &self.outstanding;
        let full = |receiver: &Receiver| {
            let key = (alert.tenant.clone(), receiver.clone());
            outstanding.get(&key).is_some_and(|&count| count >= MAX_PENDING_PER_RECEIVER)
        };
        episode.take(alert, silenced, now_us, full);
        episode.applied = episode.applied.max(place);
        self.settled.add(&group.ledger_key(), episode.settled.counts().since(&before));
        self.changed.insert(id);
        self.put_back(id, episode);
    }

    fn episodes_of(&self, group: &Group) -> impl DoubleEndedIterator<Item = &Episode> {
        self.by_group.get(group).into_iter().flatten().filter_map(|id| self.episodes.get(id))
    }

    /// The episode that takes the group's next alert.
    fn current(&self, group: &Group) -> Option<NotificationId> {
        self.episodes_of(group).next_back().filter(|episode| !episode.over).map(Episode::id)
    }

    /// Begins an episode; without a way out, or without room, the alert is counted instead.
    fn begin(&mut self, alert: &Alert, place: Place, ways: Vec<Way>, intake: &mut Intake) -> Option<NotificationId> {
        let key = ledger_key(&alert.tenant, &alert.domain);
        if ways.is_empty() {
            intake.books.add(&key, Counts { silenced: 1, ..Counts::default() });
            return None;
        }
        if self.episodes.len() >= MAX_EPISODES {
            intake.books.add(&key, Counts { undeliverable: 1, ..Counts::default() });
            intake.refused += 1;
            return None;
        }
        Some(self.add(Episode::begin(alert, place, ways)))
    }

    fn add(&mut self, episode: Episode) -> NotificationId {
        let id = episode.id();
        self.by_group.entry(episode.group.clone()).or_default().push(id);
        self.put_back(id, episode);
        id
    }

    /// Takes an episode out of the indexes, to change it.
    fn take_out(&mut self, id: NotificationId) -> Option<Episode> {
        let episode = self.episodes.remove(&id)?;
        self.agenda.remove(&(episode.next_at(), id));
        for leg in episode.legs.iter().filter(|leg| leg.outstanding()) {
            let key = (episode.group.tenant.clone(), leg.way.receiver.clone());
            if let Some(count) = self.outstanding.get_mut(&key) {
                *count = count.saturating_sub(1);
            }
        }
        Some(episode)
    }

    fn put_back(&mut self, id: NotificationId, episode: Episode) {
        self.agenda.insert((episode.next_at(), id));
        for leg in episode.legs.iter().filter(|leg| leg.outstanding()) {
            *self.outstanding.entry((episode.group.tenant.clone(), leg.way.receiver.clone())).or_default() += 1;
        }
        self.episodes.insert(id, episode);
    }

    fn change(&mut self, id: NotificationId, change: impl FnOnce(&mut Episode)) {
        let Some(mut episode) = self.take_out(id) else { return };
        let before = episode.settled.counts();
        change(&mut episode);
        self.settled.add(&episode.group.ledger_key(), episode.settled.counts().since(&before));
        self.changed.insert(id);
        self.put_back(id, episode);
    }

    fn due(&self, now_us: i64) -> Vec<NotificationId> {
        self.agenda.iter().take_while(|(at_us, _)| *at_us <= now_us).map(|&(_, id)| id).collect()
    }

    /// Writes the messages that are due.
    pub fn write_due(&mut self, now_us: i64) {
        for id in self.due(now_us) {
            if self.episodes.get(&id).is_some_and(|episode| episode.has_due(now_us)) {
                self.change(id, |episode| episode.write_due(now_us));
            }
        }
    }

    /// The attempts to begin now, for receivers that `free` says have room. To be called when what changed is stored.
    pub fn attempts(&mut self, now_us: i64, mut free: impl FnMut(&Receiver) -> bool) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        for id in self.due(now_us) {
            let Some(episode) = self.episodes.get(&id) else { continue };
            let ready = |leg: &Leg| leg.pending.as_ref().is_some_and(|message| message.is_ready(now_us));
            let legs = episode.legs.iter().enumerate().filter(|(_, leg)| ready(leg) && free(&leg.way.receiver));
            let begun: Vec<_> = legs.map(|(at, _)| at).collect();
            if begun.is_empty() {
                continue;
            }
            let Some(mut episode) = self.take_out(id) else { continue };
            attempts.extend(begun.into_iter().filter_map(|at| attempt(id, at, &mut episode)));
            self.put_back(id, episode);
        }
        attempts
    }

    /// Notes how an attempt went; answers with the reason if the message is given up on.
    pub fn outcome(&mut self, attempt: &Attempt, outcome: Outcome, now_us: i64) -> Option<String> {
        let retry = self.retry;
        let mut given_up = None;
        self.change(attempt.episode, |episode| {
            let Some(message) = episode.legs.get_mut(attempt.leg).and_then(|leg| leg.pending.as_mut()) else { return };
            message.in_flight = false;
            message.attempts += 1;
            let next_us = match outcome {
                Outcome::Delivered => return episode.end(attempt.leg, End::Delivered, now_us),
                Outcome::Failed { reason, retry_after_us } => {
                    message.last_error = reason;
                    retry.next_us(message, retry_after_us, now_us)
                }
                Outcome::Refused { reason } => {
                    message.last_error = reason;
                    None
                }
            };
            if let Some(next_us) = next_us {
                message.next_us = next_us;
            } else {
                given_up = Some(message.last_error.clone());
                episode.end(attempt.leg, End::Undeliverable, now_us);
            }
        });
        given_up
    }

    /// The episodes that changed since the last call; to be stored before anything else follows from them.
    pub fn take_changed(&mut self) -> Vec<(NotificationId, &Episode)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|id| Some((id, self.episodes.get(&id)?))).collect()
    }

    /// Episodes that may be forgotten: they are over, and no message after `position` is in them.
    #[must_use]
    pub fn forgettable(&self, position: u64, now_us: i64, at_most: usize) -> Vec<NotificationId> {
        let crowded = self.episodes.len() >= MAX_EPISODES;
        let wanted = |id: &NotificationId| {
            self.episodes.get(id).is_some_and(|episode| {
                let at_us = episode.forget_at();
                episode.applied.0 <= position && (at_us <= now_us || (crowded && at_us < i64::MAX))
            })
        };
        let candidates = self.agenda.iter().take_while(|(at_us, _)| *at_us <= now_us || crowded).map(|&(_, id)| id);
        candidates.filter(wanted).take(at_most).collect()
    }

    /// Forgets episodes; answers with what they counted, which [`Self::settled`] no longer holds.
    pub fn forget(&mut self, ids: &[NotificationId]) -> Books {
        let mut gone = Books::default();
        for id in ids {
            let Some(episode) = self.take_out(*id) else { continue };
            if let Some(of_group) = self.by_group.get_mut(&episode.group) {
                of_group.retain(|other| other != id);
                if of_group.is_empty() {
                    self.by_group.remove(&episode.group);
                }
            }
            self.changed.remove(id);
            gone.add(&episode.group.ledger_key(), episode.settled.counts());
        }
        let mut left = Books::default();
        for (key, counts) in self.settled.iter() {
            let counts = counts.since(&gone.total(|other| other == key));
            if counts != Counts::default() {
                left.add(key, counts);
            }
        }
        self.settled = left;
        self.outstanding.retain(|_, count| *count > 0);
        gone
    }

    /// Alerts that the episodes held are done with.
    #[must_use]
    pub fn settled(&self) -> &Books {
        &self.settled
    }

    /// When there is something to do next, microseconds since 1970; what is due already waits for a receiver.
    #[must_use]
    pub fn next_after(&self, now_us: i64) -> Option<i64> {
        let later = (now_us.saturating_add(1), NotificationId::from_bytes([0; 16]))..;
        self.agenda.range(later).next().map(|&(at_us, _)| at_us).filter(|&at_us| at_us < i64::MAX)
    }
}

/// The attempt that a leg's message makes now.
fn attempt(id: NotificationId, leg: usize, episode: &mut Episode) -> Option<Attempt> {
    let Leg { way, pending, .. } = episode.legs.get_mut(leg)?;
    let message = pending.as_mut()?;
    message.in_flight = true;
    Some(Attempt {
        episode: id,
        leg,
        id: message.id,
        receiver: way.receiver.clone(),
        payload: message.payload.clone(),
        attempts: message.attempts,
    })
}

#[cfg(test)]
pub(crate) mod tests;
