//! What goes through EVT, by seed, and the rules that look at it.

use atalaya_model::{Class, EventId};
use atalaya_proto::raw_v1::{Entry, RawHeader};
use atalaya_schema::{EventBatch, Rows, col, column_index};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

pub(crate) const SECOND_US: i64 = 1_000_000;

/// Received time between two steps.
const STEP_S: i64 = 10;

/// A plain rule whose matches are counted too, two counts that open as they are reached, one that waits for the
/// watermark.
pub(crate) const RULES: &str = include_str!("../testdata/logins.yml");

/// The spray is gone, guessing is another rule under its old id, logins that succeed are new.
pub(crate) const OTHER_RULES: &str = "
title: Failed
id: f
level: low
logsource: {category: authentication}
detection: {sel: {status_id: 2}, condition: sel}
---
title: Guessing
id: g
level: high
correlation: {type: event_count, rules: [f], group-by: [src_ip], timespan: 30s, condition: {gte: 2}, generate: true}
---
title: Succeeded
id: ok
level: low
logsource: {category: authentication}
detection: {sel: {status_id: 1}, condition: sel}
";

/// Of the others, what fails is gone.
pub(crate) const THIRD_RULES: &str = "
title: Succeeded
id: ok
level: medium
logsource: {category: authentication}
detection: {sel: {status_id: 1}, condition: sel}
";

#[derive(Clone, Debug)]
pub(crate) struct Login {
    /// Seconds before it was received.
    pub(crate) ago_s: i64,
    pub(crate) ip: u16,
    pub(crate) user: u8,
    pub(crate) failed: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Logins(Vec<Login>),
    Control(Entry),
    Mark,
}

/// One message.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) partition: u16,
    pub(crate) input: u64,
    pub(crate) received_us: i64,
    pub(crate) what: What,
}

/// Steps for two partitions, from a number on, which is also their time.
pub(crate) fn steps(seed: u64, numbers: std::ops::Range<i64>) -> Vec<Step> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut step = |number: i64| {
        let what = match random.random_range(0..10) {
            0 => What::Control(Entry::Open),
            1 => What::Control(Entry::Close),
            2 => What::Control(Entry::Heartbeat),
            3 => What::Mark,
            _ => What::Logins((0..random.random_range(1..12)).map(|_| login(&mut random)).collect()),
        };
        let (partition, input) = (random.random_range(0..2), random.random_range(0..3));
        Step { partition, input, received_us: number * STEP_S * SECOND_US, what }
    };
    numbers.map(&mut step).collect()
}

fn login(random: &mut SmallRng) -> Login {
    Login {
        ago_s: random.random_range(0..25),
        ip: random.random_range(0..6),
        user: random.random_range(0..5),
        failed: random.random_bool(0.8),
    }
}

impl Step {
    /// A message of logins that all just came, of which every one failed: each address as so many users.
    pub(crate) fn failures(partition: u16, number: i64, ips: std::ops::Range<u16>, users: u8) -> Self {
        let login = |ip| (0..users).map(move |user| Login { ago_s: 0, ip, user, failed: true });
        let what = What::Logins(ips.flat_map(login).collect());
        Self { partition, input: 0, received_us: number * STEP_S * SECOND_US, what }
    }

    pub(crate) fn batch(&self, tenant: &str, logins: &[Login], id: &str) -> EventBatch {
        let class = Class::Authentication;
        let column = |name| column_index(class, name).unwrap();
        let mut rows = Rows::new(class);
        for (number, login) in (0_u32..).zip(logins) {
            rows.begin();
            rows.id(col::EVENT_ID, EventId::of("test", &[id.as_bytes(), &number.to_le_bytes()]).as_bytes());
            rows.text(col::TENANT, tenant);
            rows.time(col::TIME, self.received_us - login.ago_s * SECOND_US);
            rows.text(column("src_ip"), &format!("10.0.{}.{}", login.ip / 256, login.ip % 256));
            rows.text(column("user"), &format!("user{}", login.user));
            rows.int32(column("status_id"), if login.failed { 2 } else { 1 });
            rows.end();
        }
        EventBatch::new(class, rows.finish()).unwrap()
    }

    pub(crate) fn header(&self, tenant: &str, entry: Entry) -> RawHeader {
        RawHeader {
            entry: entry.into(),
            tenant: tenant.to_owned(),
            domain: "live".to_owned(),
            lateness_us: 5 * SECOND_US,
            ..RawHeader::default()
        }
    }
}
