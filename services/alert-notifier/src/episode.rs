//! An episode: what is told of one group of alerts, from its opening message to its last. An entry of the outbox.

use std::collections::BTreeSet;

use atalaya_model::{Alert, AlertId, AlertState, Counts, LedgerKey, NotificationId, Receiver, Tenant};
use serde::{Deserialize, Serialize};

use crate::message;
use crate::routes::Way;

/// Alerts that a message shows at most: the opening one and the newest.
pub const MAX_ALERTS_PER_MESSAGE: usize = 5;

/// Open alerts an episode knows by id at most; beyond, it only counts them.
pub const MAX_OPEN_PER_EPISODE: usize = 256;

/// An open episode without news is forgotten after this long.
const QUIET_US: i64 = 24 * 3_600_000_000;

/// Source of the alerts' rows in the ledger.
const LEDGER_SOURCE: &str = "alerts";

/// What alerts are grouped by: one message tells of all alerts of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Group {
    /// Whose.
    pub tenant: Tenant,
    /// `live`, or a backfill or replay.
    pub domain: String,
    /// The rule's id.
    pub rule_id: String,
    /// The entity, as the rule groups.
    pub group_key: String,
}

impl Group {
    /// The group of an alert.
    #[must_use]
    pub fn of(alert: &Alert) -> Self {
        Self {
            tenant: alert.tenant.clone(),
            domain: alert.domain.clone(),
            rule_id: alert.rule_id.clone(),
            group_key: alert.group_key.clone(),
        }
    }

    /// The group's row in the ledger.
    #[must_use]
    pub fn ledger_key(&self) -> LedgerKey {
        ledger_key(&self.tenant, &self.domain)
    }

    fn parts(&self) -> [&[u8]; 4] {
        [self.tenant.as_str().as_bytes(), self.domain.as_bytes(), self.rule_id.as_bytes(), self.group_key.as_bytes()]
    }
}

/// The ledger's row of a tenant's alerts.
#[must_use]
pub fn ledger_key(tenant: &Tenant, domain: &str) -> LedgerKey {
    LedgerKey { source: LEDGER_SOURCE.to_owned(), tenant: tenant.to_string(), domain: domain.to_owned() }
}

/// A place in the ALERT stream: a message's sequence, and the ordinal of an alert in it.
pub type Place = (u64, u32);

/// What a receiver heard last of the episode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// Nothing yet.
    #[default]
    Nothing,
    /// That it goes on.
    Open,
    /// That it is over.
    Closed,
    /// It could not be reached.
    Failed,
}

/// Which message of an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// The first.
    Opening,
    /// It lasts.
    Repeat,
    /// It is over.
    Closing,
}

/// A message that is to be delivered; its text is fixed, so that every attempt says the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Hash of route, group, opening alert, receiver and ordinal: the idempotency key.
    pub id: NotificationId,
    /// 0 for the opening, counting up.
    pub ordinal: u32,
    /// Whether it says that the episode is over.
    pub closed: bool,
    /// Body or line, as the receiver takes it.
    pub payload: String,
    /// When it was written, microseconds since 1970.
    pub created_us: i64,
    /// Attempts so far.
    pub attempts: u32,
    /// Not before, microseconds since 1970.
    pub next_us: i64,
    /// Why the last attempt failed; empty before.
    pub last_error: String,
    /// An attempt is on its way.
    #[serde(skip)]
    pub in_flight: bool,
}

/// One route of an episode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// The route and its receiver.
    pub way: Way,
    /// Ordinal of the next message.
    pub next: u32,
    /// What the receiver heard last.
    pub told: Told,
    /// When.
    pub told_us: i64,
    /// Since when there is something it has not heard.
    pub news_us: Option<i64>,
    /// The message on its way.
    pub pending: Option<Notification>,
}

/// Alerts that wait for the same messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cohort {
    alerts: u64,
    /// Leg and the ordinal of the message that tells of them.
    waits: Vec<(usize, u32)>,
    failed: bool,
}

/// Alerts of an episode that are done with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Told to every receiver.
    pub notified: u64,
    /// Silenced by a person.
    pub silenced: u64,
    /// Given up on.
    pub undeliverable: u64,
}

impl Settled {
    /// The same as counts of the ledger.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            notified: self.notified,
            silenced: self.silenced,
            undeliverable: self.undeliverable,
            ..Counts::default()
        }
    }
}

/// How an attempt ended for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The receiver has it.
    Delivered,
    /// Given up on.
    Undeliverable,
}

/// One entry of the outbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// What it tells of.
    pub group: Group,
    /// The alert that began it.
    pub since: Place,
    /// The newest alert taken in; all of the group between the two are in it.
    pub applied: Place,
    /// When news came last, microseconds since 1970.
    pub last_us: i64,
    /// Alerts opened.
    pub alerts: u64,
    /// The opening alert and the newest ones, as they stand.
    pub samples: Vec<Alert>,
    open: BTreeSet<AlertId>,
    open_unnamed: u64,
    /// It ended, and its receivers know or will know; the next alert begins another.
    pub over: bool,
    /// One for each route.
    pub legs: Vec<Leg>,
    waiting: Vec<Cohort>,
    /// Alerts done with.
    pub settled: Settled,
}

impl Episode {
    /// An episode that an alert begins; the alert itself is taken in by [`Self::take`].
    #[must_use]
    pub fn begin(alert: &Alert, place: Place, ways: Vec<Way>) -> Self {
        let leg = |way| Leg { way, next: 0, told: Told::Nothing, told_us: 0, news_us: None, pending: None };
        Self {
            group: Group::of(alert),
            since: place,
            applied: place,
            last_us: 0,
            alerts: 0,
            samples: vec![alert.clone()],
            open: BTreeSet::new(),
            open_unnamed: 0,
            over: false,
            legs: ways.into_iter().map(leg).collect(),
            waiting: Vec::new(),
            settled: Settled::default(),
        }
    }

    /// The entry's name: hash of group and opening alert.
    #[must_use]
    pub fn id(&self) -> NotificationId {
        let [tenant, domain, rule, key] = self.group.parts();
        NotificationId::of("atalaya episode 1", &[tenant, domain, rule, key, self.samples[0].id.as_bytes()])
    }

    /// Whether an alert of it goes on.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.open.is_empty() || self.open_unnamed > 0
    }

    /// Takes a state of an alert in. `full` says whether a receiver's part of the outbox is full.
    pub fn take(&mut self, alert: &Alert, silenced: bool, now_us: i64, full: impl Fn(&Receiver) -> bool) {
        self.track(alert);
        match alert.state {
            AlertState::Opened if silenced => self.settled.silenced += 1,
            AlertState::Opened => self.enlist(now_us, full),
            _ if silenced => return,
            AlertState::Updated | AlertState::Closed => {
                for leg in self.legs.iter_mut().filter(|leg| leg.next > 0 || leg.outstanding()) {
                    leg.news_us.get_or_insert(now_us);
                }
            }
        }
        self.last_us = now_us;
        let heard = |leg: &Leg| leg.told == Told::Open || leg.pending.as_ref().is_some_and(|message| !message.closed);
        self.over |= alert.state == AlertState::Closed && !self.is_open() && self.legs.iter().any(heard);
    }

    fn track(&mut self, alert: &Alert) {
        match alert.state {
            AlertState::Opened => {
                self.alerts += 1;
                if self.open.len() < MAX_OPEN_PER_EPISODE {
                    self.open.insert(alert.id);
                } else {
                    self.open_unnamed += 1;
                }
            }
            AlertState::Closed if !self.open.remove(&alert.id) => {
                self.open_unnamed = self.open_unnamed.saturating_sub(1);
            }
            AlertState::Closed | AlertState::Updated => {}
        }
        if let Some(known) = self.samples.iter_mut().find(|known| known.id == alert.id) {
            known.clone_from(alert);
            return;
        }
        if self.samples.len() == MAX_ALERTS_PER_MESSAGE {
            self.samples.remove(1);
        }
        self.samples.push(alert.clone());
    }

    /// Notes which messages an opened alert waits for: none of a receiver that already heard of the group.
    fn enlist(&mut self, now_us: i64, full: impl Fn(&Receiver) -> bool) {
        let (mut waits, mut failed) = (Vec::new(), false);
        for (at, leg) in self.legs.iter_mut().enumerate() {
            let heard = matches!(leg.told, Told::Open | Told::Closed);
            if !heard && !leg.outstanding() && full(&leg.way.receiver) {
                leg.told = Told::Failed;
                failed = true;
                continue;
            }
            leg.news_us.get_or_insert(now_us);
            if !heard {
                waits.push((at, leg.next));
            }
        }
        match self.waiting.iter_mut().find(|cohort| cohort.waits == waits && cohort.failed == failed) {
            Some(cohort) => cohort.alerts += 1,
            None => self.waiting.push(Cohort { alerts: 1, waits, failed }),
        }
        self.settle();
    }

    fn settle(&mut self) {
        let settled = &mut self.settled;
        self.waiting.retain(|cohort| {
            let count = if cohort.failed { &mut settled.undeliverable } else { &mut settled.notified };
            if cohort.waits.is_empty() {
                *count += cohort.alerts;
            }
            !cohort.waits.is_empty()
        });
    }

    /// Whether a message is to be written.
    #[must_use]
    pub fn has_due(&self, now_us: i64) -> bool {
        let open = self.is_open();
        self.legs.iter().any(|leg| leg.is_due(open, now_us))
    }

    /// Writes the messages that are due.
    pub fn write_due(&mut self, now_us: i64) {
        let open = self.is_open();
        for at in 0..self.legs.len() {
            if self.legs[at].is_due(open, now_us) {
                let notification = self.notification(at, now_us);
                let leg = &mut self.legs[at];
                leg.next += 1;
                leg.news_us = None;
                leg.pending = Some(notification);
            }
        }
    }

    fn notification(&self, at: usize, now_us: i64) -> Notification {
        let leg = &self.legs[at];
        let closed = !self.is_open();
        let occasion = match (leg.next, closed) {
            (0, _) => Occasion::Opening,
            (_, true) if leg.told == Told::Open => Occasion::Closing,
            _ => Occasion::Repeat,
        };
        let id = self.notification_id(leg);
        let payload = match &leg.way.receiver {
            Receiver::Stdout {} => message::line(self, occasion),
            Receiver::Webhook { .. } => message::body(self, leg, id, occasion),
            Receiver::Smtp(_) => message::mail(self, occasion, now_us),
        };
        Notification {
            id,
            ordinal: leg.next,
            closed,
            payload,
            created_us: now_us,
            attempts: 0,
            next_us: now_us,
            last_error: String::new(),
            in_flight: false,
        }
    }

    fn notification_id(&self, leg: &Leg) -> NotificationId {
        let [tenant, domain, rule, key] = self.group.parts();
        let receiver = message::receiver_name(&leg.way.receiver);
        NotificationId::of(
            "atalaya notification 1",
            &[
                leg.way.name.as_bytes(),
                tenant,
                domain,
                rule,
                key,
                self.samples[0].id.as_bytes(),
                receiver.as_bytes(),
                &leg.next.to_le_bytes(),
            ],
        )
    }

    /// The end of a leg's message: those who waited for it are done with, or wait for the other legs.
    pub fn end(&mut self, at: usize, end: End, now_us: i64) {
        let Some(message) = self.legs.get_mut(at).and_then(|leg| leg.pending.take()) else { return };
        let leg = &mut self.legs[at];
        leg.told_us = now_us;
        leg.told = match end {
            End::Delivered if message.closed => Told::Closed,
            End::Delivered => Told::Open,
            End::Undeliverable => Told::Failed,
        };
        for cohort in &mut self.waiting {
            let before = cohort.waits.len();
            match end {
                End::Delivered => cohort.waits.retain(|&(leg, _)| leg != at),
                End::Undeliverable => cohort.waits.retain(|&(leg, next)| leg != at || next > message.ordinal),
            }
            cohort.failed |= end == End::Undeliverable && cohort.waits.len() < before;
        }
        self.settle();
    }

    /// When there is something to do, microseconds since 1970: a message to write, an attempt, the end.
    #[must_use]
    pub fn next_at(&self) -> i64 {
        let open = self.is_open();
        let legs = self.legs.iter().filter_map(|leg| match &leg.pending {
            Some(message) => (!message.in_flight).then_some(message.next_us),
            None => leg.due_at(open),
        });
        legs.min().unwrap_or_else(|| self.forget_at())
    }

    /// When it may be forgotten, microseconds since 1970; never while something is to be told.
    #[must_use]
    pub fn forget_at(&self) -> i64 {
        if !self.waiting.is_empty() || self.legs.iter().any(Leg::outstanding) {
            return i64::MAX;
        }
        if self.over {
            return 0;
        }
        let lingering = self.legs.iter().map(|leg| leg.told_us.saturating_add(leg.way.repeat_us)).max().unwrap_or(0);
        if self.is_open() { lingering.max(self.last_us.saturating_add(QUIET_US)) } else { lingering }
    }

    /// Ends it because another one of its group has begun; a receiver that heard of it hears of its end.
    pub fn supersede(&mut self, now_us: i64) {
        self.over = true;
        self.open.clear();
        self.open_unnamed = 0;
        for leg in self.legs.iter_mut().filter(|leg| leg.told == Told::Open) {
            leg.news_us.get_or_insert(now_us);
        }
    }
}

impl Notification {
    /// Whether an attempt may begin.
    #[must_use]
    pub fn is_ready(&self, now_us: i64) -> bool {
        !self.in_flight && self.next_us <= now_us
    }
}

impl Leg {
    /// Whether something is on its way to the receiver, or will be.
    #[must_use]
    pub fn outstanding(&self) -> bool {
        self.pending.is_some() || self.news_us.is_some()
    }

    fn is_due(&self, open: bool, now_us: i64) -> bool {
        self.pending.is_none() && self.due_at(open).is_some_and(|due_us| due_us <= now_us)
    }

    /// When the next message is to be written, if there is anything to tell.
    fn due_at(&self, open: bool) -> Option<i64> {
        let news_us = self.news_us?;
        let waited = news_us.saturating_add(self.way.group_wait_us);
        Some(match self.told {
            Told::Nothing | Told::Failed => waited,
            Told::Open if !open => news_us,
            Told::Open | Told::Closed => waited.max(self.told_us.saturating_add(self.way.repeat_us)),
        })
    }
}

#[cfg(test)]
mod tests;
