//! Random messages, and what a lookup over them has to give: every row looked at, one by one.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::RecordBatch;
use atalaya_model::{Class, EventId};
use atalaya_schema::{EventBatch, Rows, col, row_json, text_value};
use serde_json::{Map, Value};

use crate::kinds::{DAY_US, EntityKind, HOUR_US, column, name_columns, registered_domain};
use crate::network::Network;
use crate::{FiledMessage, Hit, Lookup, LookupKind};

/// Noon of a day in 2024, microseconds since 1970: where most events are.
pub const NOON_US: i64 = 19_800 * DAY_US + 12 * HOUR_US;

/// Who has events; their rows share messages.
pub const TENANTS: [&str; 3] = ["acme", "globex", "initech"];

/// Classes the world has events of.
pub const CLASSES: [Class; 6] = [
    Class::DnsActivity,
    Class::HttpActivity,
    Class::NetworkActivity,
    Class::Authentication,
    Class::ProcessActivity,
    Class::OsintInventoryInfo,
];

/// One row, as a lookup has to give it.
#[derive(Clone, Debug, PartialEq)]
pub struct WorldRow {
    /// The row's class.
    pub class: Class,
    /// Its tenant.
    pub tenant: String,
    /// When it happened, microseconds since 1970.
    pub time_us: i64,
    /// Its event id.
    pub id: EventId,
    /// The RAW message it came in.
    pub raw_id: String,
    /// The whole row.
    pub json: Map<String, Value>,
}

/// Messages and their rows.
#[derive(Default)]
pub struct World {
    /// The messages, in order.
    pub messages: Vec<FiledMessage>,
    rows: Vec<WorldRow>,
    sequence: u64,
}

/// Numbers by seed.
pub struct Dice(u64);

impl Dice {
    /// Dice of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number (splitmix64).
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.any() % bound.max(1)
    }

    /// One of these.
    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap_or(0)]
    }
}

/// A row to be made: whose, when, and the dice for the rest.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Whose.
    pub tenant: &'static str,
    /// When, microseconds since 1970.
    pub time_us: i64,
    /// Seed of the values.
    pub values: u64,
}

impl World {
    /// A world of so many messages: several tenants in each, times out of order over three days, a few wild ones.
    ///
    /// # Errors
    /// If a batch cannot be made.
    pub fn random(seed: u64, messages: usize) -> Result<Self> {
        let mut dice = Dice::new(seed);
        let mut world = Self::default();
        for _ in 0..messages {
            let class = *dice.pick(&CLASSES.each_ref());
            let rows = 1 + dice.below(60);
            let base_us = NOON_US + (dice.below(72).cast_signed() - 36) * HOUR_US;
            let mut seeds = Vec::new();
            for _ in 0..rows {
                let wild = match dice.below(200) {
                    0 => Some(-DAY_US),
                    1 => Some(300_000 * DAY_US),
                    _ => None,
                };
                // Seconds only, so that times are often equal.
                let spread_s = if dice.below(4) == 0 { 90_000 } else { 900 };
                let spread_us = dice.below(spread_s).cast_signed() * 1_000_000;
                let time_us = wild.unwrap_or(base_us - spread_us);
                seeds.push(Seed { tenant: dice.pick(&TENANTS), time_us, values: dice.any() });
            }
            world.add(class, &seeds)?;
        }
        Ok(world)
    }

    /// Adds a message with these rows.
    ///
    /// # Errors
    /// If its batch cannot be made.
    pub fn add(&mut self, class: Class, seeds: &[Seed]) -> Result<&FiledMessage> {
        self.sequence += 1;
        let raw_id = format!("c1-0.1700000000000.{}", self.sequence / 2);
        let received_time_us = NOON_US + 2 * DAY_US + self.sequence.cast_signed() * 1_000_000;
        let mut rows = Rows::new(class);
        for (ordinal, seed) in seeds.iter().enumerate() {
            let origin = (self.sequence.to_le_bytes(), (ordinal as u64).to_le_bytes());
            let id = EventId::of("test", &[&origin.0, &origin.1]);
            fill(&mut rows, seed, id, received_time_us);
        }
        let batch = EventBatch::new(class, rows.finish())?;
        for row in 0..batch.rows.num_rows() {
            self.rows.extend(world_row(&batch, row, &raw_id));
        }
        self.messages.push(FiledMessage {
            partition: u16::try_from(self.sequence % 3)?,
            sequence: self.sequence,
            id: format!("{raw_id}/{}/{}/0", self.sequence, class.name()),
            raw_id,
            received_time_us,
            body: batch.encode(),
            batch: Arc::new(batch),
        });
        self.messages.last().ok_or_else(|| anyhow::anyhow!("the message was added"))
    }

    /// Every row.
    #[must_use]
    pub fn rows(&self) -> &[WorldRow] {
        &self.rows
    }

    /// What a lookup has to give, over all of its pages.
    #[must_use]
    pub fn rows_of(&self, lookup: &Lookup) -> Vec<WorldRow> {
        let wanted = |row: &&WorldRow| {
            row.tenant == lookup.tenant.as_str()
                && lookup.from_us.is_none_or(|from_us| row.time_us >= from_us)
                && lookup.to_us.is_none_or(|to_us| row.time_us < to_us)
                && holds(row, lookup.kind, &lookup.value)
        };
        let mut rows: Vec<_> = self.rows.iter().filter(wanted).cloned().collect();
        rows.sort_by_key(|row| (std::cmp::Reverse(row.time_us), row.id));
        rows
    }

    /// Every value that some row holds under a lookup's kind, and a few that none holds.
    #[must_use]
    pub fn values(&self, kind: LookupKind) -> BTreeSet<String> {
        let of_kind = |row: &WorldRow, kind| text(row, column(kind, row.class)).map(str::to_owned);
        let of = |kinds: &[EntityKind]| -> Vec<String> {
            self.rows.iter().flat_map(|row| kinds.iter().filter_map(|kind| of_kind(row, *kind))).collect()
        };
        let (held, absent): (Vec<String>, &[&str]) = match kind {
            LookupKind::Ip | LookupKind::SrcIp | LookupKind::DstIp => {
                (of(&[EntityKind::SrcIp, EntityKind::DstIp]), &["192.0.2.1", "2001:db8:ffff::"])
            }
            LookupKind::Cidr => {
                (Vec::new(), &["10.0.0.0/8", "10.1.0.0/24", "10.1.0.7/32", "::/0", "2001:db8::/32", "192.0.2.0/24"])
            }
            LookupKind::Domain => {
                let names = |row: &WorldRow| -> Vec<String> {
                    name_columns(row.class).filter_map(|column| text(row, Some(column)).map(str::to_owned)).collect()
                };
                let mut held = of(&[EntityKind::Domain]);
                held.extend(self.rows.iter().flat_map(names));
                (held, &["absent.example", "com", "x.y.z.example.com", "WWW.Example.COM."])
            }
            LookupKind::User => (of(&[EntityKind::User]), &["nobody", "ANN"]),
            LookupKind::Tenant => (vec![String::new()], &["whatever"]),
            LookupKind::Event => (self.rows.iter().map(|row| row.id.to_string()).collect(), &[]),
            LookupKind::Raw => (self.rows.iter().map(|row| row.raw_id.clone()).collect(), &["c1-0.1.1"]),
            LookupKind::Indicator => {
                let indicator = |row: &WorldRow| row.json.get("indicator").and_then(Value::as_str).map(str::to_owned);
                (self.rows.iter().filter_map(indicator).collect(), &["absent"])
            }
        };
        let absent = absent.iter().map(|value| (*value).to_owned());
        // A value that is empty is none, and nothing is looked up by it.
        held.into_iter().chain(absent).filter(|value| !value.is_empty() || kind == LookupKind::Tenant).collect()
    }
}

fn text(row: &WorldRow, column: Option<usize>) -> Option<&str> {
    row.json.get(atalaya_schema::columns(row.class)[column?].name)?.as_str()
}

fn holds(row: &WorldRow, kind: LookupKind, value: &str) -> bool {
    let is = |kind| text(row, column(kind, row.class)) == Some(value);
    match kind {
        LookupKind::Ip => is(EntityKind::SrcIp) || is(EntityKind::DstIp),
        LookupKind::SrcIp => is(EntityKind::SrcIp),
        LookupKind::DstIp => is(EntityKind::DstIp),
        LookupKind::User => is(EntityKind::User),
        LookupKind::Cidr => {
            let Ok(network) = Network::parse(value) else { return false };
            let within = |kind| {
                let address = text(row, column(kind, row.class)).and_then(|address| address.parse().ok());
                address.is_some_and(|address| network.contains(address))
            };
            within(EntityKind::SrcIp) || within(EntityKind::DstIp)
        }
        LookupKind::Domain => {
            let name = value.trim_end_matches('.').to_lowercase();
            let under = |host: &str| host == name || host.ends_with(&format!(".{name}"));
            let filed = text(row, column(EntityKind::Domain, row.class));
            filed == Some(registered_domain(&name))
                && (filed == Some(&name) || name_columns(row.class).any(|at| text(row, Some(at)).is_some_and(under)))
        }
        LookupKind::Tenant => true,
        LookupKind::Event => row.id.to_string() == value,
        LookupKind::Raw => row.raw_id == value,
        LookupKind::Indicator => row.json.get("indicator").and_then(Value::as_str) == Some(value),
    }
}

fn world_row(batch: &EventBatch, row: usize, raw_id: &str) -> Option<WorldRow> {
    let json = row_json(&batch.rows, row);
    Some(WorldRow {
        class: batch.class,
        tenant: text_value(batch.rows.column(col::TENANT).as_ref(), row)?.to_owned(),
        time_us: crate::cells::Times::of(&batch.rows, 0).at(row),
        id: json.get("event_id")?.as_str()?.parse().ok()?,
        raw_id: raw_id.to_owned(),
        json,
    })
}

/// A hit's whole row.
#[must_use]
pub fn row_of(hit: &Hit) -> Map<String, Value> {
    row_json(&hit.batch, hit.row)
}

/// The tenants that a batch has rows of.
#[must_use]
pub fn tenants_of(batch: &RecordBatch) -> Vec<&str> {
    let tenants = batch.column(col::TENANT);
    let of_rows = (0..batch.num_rows()).filter_map(|row| text_value(tenants.as_ref(), row));
    of_rows.collect::<BTreeSet<_>>().into_iter().collect()
}

const NAMES: [&str; 7] = [
    "www.example.com",
    "example.com",
    "a.b.example.com",
    "mail.example.co.uk",
    "tunnel.evil.test",
    "x1.tunnel.evil.test",
    "wpad",
];

fn fill(rows: &mut Rows, seed: &Seed, id: EventId, received_us: i64) {
    let class = rows.class();
    let mut dice = Dice::new(seed.values);
    rows.begin();
    rows.id(col::EVENT_ID, id.as_bytes());
    rows.text(col::TENANT, seed.tenant);
    rows.time(col::TIME, seed.time_us);
    rows.time(col::INGEST_TIME, received_us);
    rows.int32(col::CLASS_UID, class.uid());
    rows.text(col::SOURCE, dice.pick(&["zeek", "feed"]));
    if dice.below(3) == 0 {
        rows.unmapped("uid", &format!("C{}", dice.any()));
    }
    if col::has_endpoints(class) {
        fill_endpoints(rows, &mut dice);
    }
    match class {
        Class::DnsActivity => {
            let name = dice.pick(&NAMES);
            rows.text(col::dns::QUERY, name);
            if name.contains('.') {
                rows.text(col::dns::QUERY_DOMAIN, registered_domain(name));
            }
            rows.texts(col::dns::ANSWERS, ["10.0.0.1", ""].into_iter());
            rows.int64s(col::dns::TTLS, [60, 3_600].into_iter());
        }
        Class::HttpActivity => rows.text(col::http::HTTP_HOST, dice.pick(&NAMES)),
        Class::NetworkActivity => rows.int64(col::network::BYTES_IN, dice.below(1 << 40).cast_signed()),
        Class::Authentication => rows.text(col::authentication::USER, dice.pick(&["ann", "bob", "", "zoë"])),
        Class::ProcessActivity => rows.text(col::process::USER, dice.pick(&["ann", "SYSTEM"])),
        Class::OsintInventoryInfo => {
            rows.int32(col::osint::INDICATOR_TYPE_ID, 2);
            rows.text(col::osint::INDICATOR, dice.pick(&NAMES));
        }
        _ => {}
    }
    rows.end();
}

fn fill_endpoints(rows: &mut Rows, dice: &mut Dice) {
    let mut address = |rare: u64| match dice.below(rare) {
        0 => Some(format!("2001:db8::{:x}", dice.below(40) + 1)),
        1 => None,
        2 => Some(format!("10.1.{}.{}", dice.below(3), dice.below(250))),
        _ => Some(format!("10.1.0.{}", dice.below(8))),
    };
    let (source, destination) = (address(8), address(12));
    if let Some(source) = source {
        rows.text(col::endpoint::SRC_IP, &source);
    }
    if let Some(destination) = destination {
        rows.text(col::endpoint::DST_IP, &destination);
    }
    let name = dice.pick(&NAMES);
    if dice.below(2) == 0 && name.contains('.') {
        rows.text(col::endpoint::DST_HOST, name);
        rows.text(col::endpoint::DST_DOMAIN, registered_domain(name));
    }
}
