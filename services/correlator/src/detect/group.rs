//! One group of one rule: its window, its incidents, and what is told of them.
//!
//! An incident is opened by the first event that makes a window reach the threshold, lasts while windows do, and is
//! closed when the watermark is one timespan past the last that did. Windows that reach the threshold more than a
//! timespan apart belong to different incidents, even if the first is not closed yet. Windows that can be judged only
//! after their end are incidents of their own.

use std::sync::Arc;

use atalaya_model::{AlertState, EventId};
use serde::{Deserialize, Serialize};

use super::deferred::{Deferred, Judged, Waiting};
use super::window::{Crossing, Times, Values, push_small};
use crate::sigma::Bounds;

/// Event ids kept of an incident's first events, and as many of its newest.
pub const MAX_EVIDENCE: usize = 8;

/// Incidents of a group that may wait for the watermark; beyond, the oldest is closed early.
pub const MAX_INCIDENTS: usize = 8;

/// How a rule counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether different values are counted, and not events.
    pub values: bool,
    /// The timespan, microseconds.
    pub span_us: i64,
    /// What the count must be.
    pub bounds: Bounds,
    /// Whether each event counts for itself, so that one that comes late is as good as any.
    pub takes_late: bool,
}

/// An event that a rule matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// When it happened, microseconds since 1970.
    pub time_us: i64,
    /// Its id.
    pub id: EventId,
    /// Hash of the value that is counted.
    pub value: u64,
    /// When it was received, microseconds since 1970.
    pub received_us: i64,
    /// The watermark when it came.
    pub watermark_us: i64,
}

/// What an incident is about, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// The group: `field=value` with commas between.
    pub key: String,
    /// The group's values by field.
    pub entities: Vec<(String, String)>,
    /// Other values that the rule's sentence names, from the opening event.
    pub fields: Vec<(String, String)>,
}

/// An incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// The event that opened it.
    pub opening: EventId,
    /// When that one was received, microseconds since 1970.
    pub received_us: i64,
    /// What it is about.
    pub detail: Arc<Detail>,
    /// Time of the first event, microseconds since 1970.
    pub first_us: i64,
    /// Time of the newest event, microseconds since 1970.
    pub newest_us: i64,
    /// The largest count within one timespan.
    pub observed: u64,
    /// Events so far.
    pub events: u64,
    /// Messages about it so far.
    pub version: u32,
    /// End of the last window that reached the threshold.
    last_us: i64,
    closes_us: i64,
    first_ids: Vec<EventId>,
    newest_ids: Vec<EventId>,
    told: (u64, u64, i64),
    changed: bool,
    /// To be closed whatever the watermark says.
    overtaken: bool,
}

/// A message about an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Where it stands.
    pub state: AlertState,
    /// As it is now; its version is the message's.
    pub incident: Incident,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Window {
    Times(Times),
    Values(Values),
    Deferred(Deferred, Arc<Detail>),
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    window: Window,
    /// The newest events, for the evidence of an incident they may open.
    recent: Vec<(i64, EventId)>,
    incidents: Vec<Incident>,
    newest_us: i64,
    /// When the watermark has to look at this group: kept by the owner.
    pub timer_us: i64,
    /// Whether something is to be told: kept by the owner.
    #[serde(skip)]
    pub touched: bool,
}

impl Incident {
    /// Ids of its first and newest events, oldest first.
    pub fn evidence(&self) -> impl Iterator<Item = EventId> + '_ {
        self.first_ids.iter().chain(&self.newest_ids).copied()
    }

    fn remember(&mut self, id: EventId) {
        if self.first_ids.contains(&id) {
            return;
        }
        if self.first_ids.len() < MAX_EVIDENCE {
            self.first_ids.push(id);
            return;
        }
        if self.newest_ids.len() == MAX_EVIDENCE {
            self.newest_ids.remove(0);
        }
        self.newest_ids.push(id);
    }

    fn extend(&mut self, crossing: &Crossing, span_us: i64, watermark_us: i64) {
        self.first_us = self.first_us.min(crossing.first_us);
        self.last_us = self.last_us.max(crossing.to_us);
        self.closes_us = self.closes_us.max(self.last_us.max(watermark_us).saturating_add(span_us));
        self.observed = self.observed.max(crossing.count);
    }

    fn count(&mut self, time_us: i64, id: EventId) {
        self.events += 1;
        self.newest_us = self.newest_us.max(time_us);
        self.remember(id);
        self.changed = true;
    }

    /// Whether it has grown enough since the last message: twice the count, or half a timespan.
    fn has_grown(&self, span_us: i64) -> bool {
        let (observed, events, newest_us) = self.told;
        self.observed >= observed * 2 || self.events >= events * 2 || self.newest_us >= newest_us + span_us / 2
    }

    fn tell(&mut self, state: AlertState) -> Told {
        self.version += 1;
        self.told = (self.observed, self.events, self.newest_us);
        self.changed = false;
        Told { state, incident: self.clone() }
    }
}

impl Group {
    /// An empty group; `detail` is asked for only where windows are judged without an event at hand.
    pub fn new(policy: &Policy, detail: impl FnOnce() -> Detail) -> Self {
        let window = match (policy.bounds.rising(), policy.values) {
            (false, _) => Window::Deferred(Deferred::default(), Arc::new(detail())),
            (true, false) => Window::Times(Times::default()),
            (true, true) => Window::Values(Values::default()),
        };
        let (recent, incidents) = (Vec::new(), Vec::new());
        Self { window, recent, incidents, newest_us: i64::MIN, timer_us: i64::MAX, touched: false }
    }

    /// An event came. Answers with whether there may be something to tell, and how many events were forgotten for it.
    pub fn add(&mut self, policy: &Policy, event: &Occurrence, detail: impl FnOnce() -> Detail) -> (bool, u64) {
        let Policy { span_us, bounds, .. } = policy;
        let late = event.time_us < event.watermark_us;
        if late && !policy.takes_late {
            return (false, 0);
        }
        let horizon_us = event.watermark_us.saturating_sub(*span_us);
        let (crossing, forgotten) = match &mut self.window {
            Window::Deferred(deferred, _) => {
                let Occurrence { time_us, value, id, received_us, .. } = *event;
                return (false, deferred.add(Waiting { time_us, value, id, received_us }));
            }
            _ if late => (Some(single(event.time_us)), 0),
            Window::Times(times) => times.add(event.time_us, *span_us, bounds.min),
            Window::Values(values) => values.add(event.time_us, event.value, *span_us, bounds.min, horizon_us),
        };
        self.newest_us = self.newest_us.max(event.time_us);
        match crossing {
            Some(crossing) => self.cross(policy, event, &crossing, detail),
            None => self.count(policy, event),
        }
        if self.recent.len() == MAX_EVIDENCE {
            self.recent.remove(0);
        }
        push_small(&mut self.recent, (event.time_us, event.id));
        (self.incidents.iter().any(|incident| incident.changed || incident.overtaken), forgotten)
    }

    /// Counts an event that no window needed, where it falls into an incident.
    fn count(&mut self, policy: &Policy, event: &Occurrence) {
        let (from_us, to_us) =
            (event.time_us.saturating_sub(policy.span_us), event.time_us.saturating_add(policy.span_us));
        let open = self.incidents.iter_mut().rev();
        let near = |incident: &&mut Incident| incident.last_us > from_us && incident.first_us < to_us;
        if let Some(incident) = open.filter(|incident| !incident.overtaken).find(near) {
            incident.count(event.time_us, event.id);
        }
    }

    fn cross(&mut self, policy: &Policy, event: &Occurrence, crossing: &Crossing, detail: impl FnOnce() -> Detail) {
        let span_us = policy.span_us;
        let near = |incident: &&mut Incident| {
            !incident.overtaken
                && crossing.from_us <= incident.last_us.saturating_add(span_us)
                && crossing.to_us >= incident.first_us.saturating_sub(span_us)
        };
        if let Some(incident) = self.incidents.iter_mut().rev().find(near) {
            incident.extend(crossing, span_us, event.watermark_us);
            incident.count(event.time_us, event.id);
            return;
        }
        let before = crossing.events.saturating_sub(1);
        let mut incident = open(event.id, event.received_us, Arc::new(detail()), crossing, before);
        incident.extend(crossing, span_us, event.watermark_us);
        let window = self.recent.iter().filter(|(time_us, _)| *time_us >= crossing.first_us);
        window.for_each(|(_, id)| incident.remember(*id));
        incident.count(event.time_us, event.id);
        self.push(incident);
    }

    fn push(&mut self, incident: Incident) {
        let waiting = self.incidents.iter().filter(|incident| !incident.overtaken).count();
        if waiting >= MAX_INCIDENTS {
            let open = self.incidents.iter_mut().filter(|incident| !incident.overtaken);
            if let Some(oldest) = open.min_by_key(|incident| incident.last_us) {
                oldest.overtaken = true;
            }
        }
        self.incidents.push(incident);
    }

    /// A window judged after its end is an incident of its own, opened and closed at once.
    fn judged(&mut self, judged: &Judged, detail: &Arc<Detail>) {
        let (Some(first), Some(last)) = (judged.events.first(), judged.events.last()) else { return };
        let (first_us, to_us, count) = (first.time_us, last.time_us, judged.count);
        let crossing = Crossing { first_us, from_us: first_us, to_us, count, events: judged.events.len() as u64 };
        let mut incident = open(first.id, first.received_us, Arc::clone(detail), &crossing, 0);
        incident.observed = count;
        judged.events.iter().for_each(|event| incident.count(event.time_us, event.id));
        incident.overtaken = true;
        self.incidents.push(incident);
    }

    /// What is to be told now: incidents opened, incidents grown enough, and incidents closed early.
    pub fn tell(&mut self, policy: &Policy) -> Vec<Told> {
        self.touched = false;
        self.told_where(policy.span_us, |incident| incident.overtaken)
    }

    fn told_where(&mut self, span_us: i64, closes: impl Fn(&Incident) -> bool) -> Vec<Told> {
        let mut told = Vec::new();
        self.incidents.retain_mut(|incident| {
            let closes = closes(incident);
            if incident.version == 0 {
                told.push(incident.tell(AlertState::Opened));
            } else if incident.changed && !closes && incident.has_grown(span_us) {
                told.push(incident.tell(AlertState::Updated));
            }
            if closes {
                told.push(incident.tell(AlertState::Closed));
            }
            !closes
        });
        told
    }

    /// The watermark has come to `watermark_us`: what is to be told because of it.
    pub fn advance(&mut self, policy: &Policy, watermark_us: i64) -> Vec<Told> {
        let horizon_us = watermark_us.saturating_sub(policy.span_us);
        match &mut self.window {
            Window::Times(times) => times.prune(horizon_us, policy.span_us),
            Window::Values(values) => values.prune(horizon_us),
            Window::Deferred(deferred, detail) => {
                let detail = Arc::clone(detail);
                let judged = deferred.judge(watermark_us, policy.span_us, &policy.bounds, policy.values);
                judged.iter().for_each(|judged| self.judged(judged, &detail));
            }
        }
        self.told_where(policy.span_us, |incident| incident.overtaken || incident.closes_us <= watermark_us)
    }

    /// Closes every incident: its rule is no more what it was.
    pub fn close(&mut self, policy: &Policy) -> Vec<Told> {
        self.told_where(policy.span_us, |_| true)
    }

    /// When the watermark has to look at this group next; none if there is nothing left in it.
    #[must_use]
    pub fn due_us(&self, policy: &Policy) -> Option<i64> {
        let window = match &self.window {
            Window::Times(times) => (!times.is_empty()).then(|| self.newest_us.saturating_add(policy.span_us)),
            Window::Values(values) => (!values.is_empty()).then(|| self.newest_us.saturating_add(policy.span_us)),
            Window::Deferred(deferred, _) => deferred.next_end_us(policy.span_us),
        };
        self.incidents.iter().map(|incident| incident.closes_us).chain(window).min()
    }

    /// How much would be lost with it: nothing is as heavy as an incident.
    #[must_use]
    pub fn weight(&self) -> u64 {
        if !self.incidents.is_empty() {
            return u64::MAX;
        }
        match &self.window {
            Window::Times(times) => times.weight(),
            Window::Values(values) => values.weight(),
            Window::Deferred(deferred, _) => deferred.weight(),
        }
    }
}

/// A late event of a rule whose events count for themselves.
fn single(time_us: i64) -> Crossing {
    Crossing { first_us: time_us, from_us: time_us, to_us: time_us, count: 1, events: 1 }
}

fn open(opening: EventId, received_us: i64, detail: Arc<Detail>, crossing: &Crossing, before: u64) -> Incident {
    Incident {
        opening,
        received_us,
        detail,
        first_us: crossing.first_us,
        newest_us: crossing.from_us,
        observed: 0,
        events: before,
        version: 0,
        last_us: crossing.to_us,
        closes_us: i64::MIN,
        first_ids: Vec::new(),
        newest_ids: Vec::new(),
        told: (0, 0, 0),
        changed: true,
        overtaken: false,
    }
}

#[cfg(test)]
mod tests;
