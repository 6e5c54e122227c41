//! One record → one row: the mapping carried out.

use atalaya_proto::raw_v1::RawHeader;
use atalaya_schema::{Rows, col};

use crate::formats::Fault;
use crate::formats::zeek_tsv::MAX_SHOWN_CHARS;
use crate::keys::{Keys, Slot, UNKNOWN};
use crate::mapping::{Convert, Op, Plan, Role, Scratch, Target, set_constant, time_us};
use crate::park::Reason;
use crate::record::{Record, Text, Value};

/// Names of a record that can tell its owner, at most.
const MAX_DOMAINS: usize = 4;

/// The fields of a record that are more than values.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Roles<'a> {
    time: Option<(u8, usize)>,
    pub(crate) src: Option<Text<'a>>,
    pub(crate) dst: Option<Text<'a>>,
    pub(crate) domains: [Option<Text<'a>>; MAX_DOMAINS],
}

impl<'a> Roles<'a> {
    fn add(&mut self, role: Role, at: usize, value: Value<'a>) {
        match (role, value) {
            (Role::Time(preference), _) if self.time.is_none_or(|(other, _)| preference < other) => {
                self.time = Some((preference, at));
            }
            (Role::Src, Value::Text(text)) => self.src = Some(text),
            (Role::Dst, Value::Text(text)) => self.dst = Some(text),
            (Role::Domain, Value::Text(text)) => {
                if let Some(free) = self.domains.iter_mut().find(|domain| domain.is_none()) {
                    *free = Some(text);
                }
            }
            _ => {}
        }
    }
}

/// When an event happened, as far as its record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventTime {
    /// It says so.
    Told(i64),
    /// It does not say, so the received time stands for it.
    Received,
}

impl EventTime {
    /// The time that the record tells, microseconds since 1970.
    pub(crate) fn told(self) -> Option<i64> {
        if let Self::Told(us) = self { Some(us) } else { None }
    }

    /// The time of the event, microseconds since 1970.
    pub(crate) fn us(self, header: &RawHeader) -> i64 {
        self.told().unwrap_or(header.received_time_us)
    }
}

/// Carries out one plan; keeps its memory from record to record.
#[derive(Debug, Default)]
pub(crate) struct Filler {
    slots: Vec<Slot>,
    /// What is done after everything else: rule, operation, field.
    later: Vec<(u8, u8, u16)>,
    scratch: Scratch,
}

impl Filler {
    /// Finds the rule of each field, and the fields with a role.
    pub(crate) fn resolve<'a>(&mut self, record: &Record<'a>, keys: &mut Keys, plan: &Plan) -> Roles<'a> {
        self.slots.clear();
        let mut roles = Roles::default();
        let mut slot = UNKNOWN;
        for (at, &(key, value)) in record.fields.iter().enumerate() {
            slot = keys.find(slot, record.str(key), plan);
            self.slots.push(slot);
            if let Some(rule) = keys.rule(slot) {
                roles.add(plan.rules[usize::from(rule)].role, at, value);
            }
        }
        roles
    }

    /// The record's time.
    pub(crate) fn time(&self, record: &Record<'_>, roles: &Roles<'_>, plan: &Plan) -> Result<EventTime, Fault> {
        let Some((_, at)) = roles.time else {
            return if plan.time_required {
                Err(Fault::new(Reason::MissingTime, format!("column {} is not set", plan.time_field)))
            } else {
                Ok(EventTime::Received)
            };
        };
        let (key, value) = record.fields[at];
        match time_us(value, record) {
            Some(us) => Ok(EventTime::Told(us)),
            None if plan.time_required => Err(misfit(record, key, value, "time", Reason::BadTime)),
            None => Ok(EventTime::Received),
        }
    }

    /// Sets the columns that come from the record's fields. The row was begun, and what the platform knows was set.
    pub(crate) fn fill<'a>(
        &mut self,
        record: &Record<'a>,
        roles: &Roles<'a>,
        time: EventTime,
        keys: &Keys,
        plan: &Plan,
        rows: &mut Rows,
    ) -> Result<(), Fault> {
        let time_at = roles.time.filter(|_| time != EventTime::Received).map(|(_, at)| at);
        let mut seen: u128 = 0;
        self.later.clear();
        self.scratch.flags.clear();
        for at in 0..record.fields.len() {
            let (key, value) = record.fields[at];
            let slot = self.slots[at];
            match keys.rule(slot) {
                None => {
                    let name = keys.name(slot).unwrap_or_else(|| record.str(key));
                    self.keep(name, value, record, plan, rows);
                }
                Some(_) if Some(at) == time_at => {}
                Some(rule) => {
                    seen |= 1 << rule;
                    self.apply(rule, at, record, plan, rows)?;
                }
            }
        }
        self.finish(seen, record, plan, rows)
    }

    fn apply(&mut self, rule: u8, at: usize, record: &Record<'_>, plan: &Plan, rows: &mut Rows) -> Result<(), Fault> {
        let (key, value) = record.fields[at];
        let of = &plan.rules[usize::from(rule)];
        if matches!(of.role, Role::Time(_)) && of.ops.is_empty() {
            self.keep(&of.key, value, record, plan, rows);
        }
        for (index, op) in of.ops.iter().enumerate() {
            match op {
                Op::Set(target, convert) => {
                    self.set(convert, *target, key, value, record, rows)?;
                    if *convert == Convert::First && matches!(value, Value::List(list) if record.items(list).len() > 1)
                    {
                        self.keep(&of.key, value, record, plan, rows);
                    }
                }
                Op::SetWeakly(..) | Op::Unless(_) => {
                    let (index, at) = (u8::try_from(index).unwrap_or(u8::MAX), u16::try_from(at).unwrap_or(u16::MAX));
                    self.later.push((rule, index, at));
                }
                Op::Unmapped => self.keep(&of.key, value, record, plan, rows),
                Op::UnmappedTime => {
                    let value = time_us(value, record).map_or(value, Value::Time);
                    self.keep(&of.key, value, record, plan, rows);
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, seen: u128, record: &Record<'_>, plan: &Plan, rows: &mut Rows) -> Result<(), Fault> {
        for next in 0..self.later.len() {
            let (rule, index, at) = self.later[next];
            let (key, value) = record.fields[usize::from(at)];
            let of = &plan.rules[usize::from(rule)];
            match &of.ops[usize::from(index)] {
                Op::SetWeakly(target, convert) if !rows.is_set(target.col) => {
                    self.set(convert, *target, key, value, record, rows)?;
                }
                Op::Unless(other) if seen & (1 << other) == 0 => self.keep(&of.key, value, record, plan, rows),
                _ => {}
            }
        }
        if let Some(flags) = plan.flags.filter(|_| !self.scratch.flags.is_empty()) {
            rows.text(flags, &self.scratch.flags);
        }
        for (target, constant) in &plan.constants {
            // The first value of a column stands.
            set_constant(constant, *target, rows);
        }
        rows.int32(col::ACTIVITY_ID, plan.activity);
        Ok(())
    }

    fn set<'a>(
        &mut self,
        convert: &Convert,
        target: Target,
        key: Text<'a>,
        value: Value<'a>,
        record: &Record<'a>,
        rows: &mut Rows,
    ) -> Result<(), Fault> {
        convert
            .apply(value, target, record, rows, &mut self.scratch)
            .map_err(|expected| misfit(record, key, value, expected, Reason::BadValue))
    }

    /// Adds a field to `unmapped`.
    fn keep<'a>(&mut self, key: &str, value: Value<'a>, record: &Record<'a>, plan: &Plan, rows: &mut Rows) {
        if let Value::Text(text) = value {
            rows.unmapped(key, record.str(text));
        } else {
            self.scratch.text.clear();
            record.push_flat(value, plan.six_decimals, &mut self.scratch.text);
            rows.unmapped(key, &self.scratch.text);
        }
    }
}

#[cold]
fn misfit<'a>(record: &Record<'a>, key: Text<'a>, value: Value<'a>, expected: &str, reason: Reason) -> Fault {
    let mut flat = String::new();
    record.push_flat(value, false, &mut flat);
    let shown: String = flat.chars().take(MAX_SHOWN_CHARS).collect();
    Fault::new(reason, format!("column {}: '{shown}' is no {expected}", record.str(key)))
}
