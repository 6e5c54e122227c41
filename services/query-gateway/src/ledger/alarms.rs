//! Differences that do not close: what was counted in must be accounted for within a minute.

use std::collections::BTreeMap;

use atalaya_model::{Books, Counts, LedgerKey};

/// A difference that is older is an alarm, microseconds.
pub const MAX_OPEN_US: i64 = 60_000_000;

/// The equations of the ledger.
const EQUATIONS: [Equation; 4] = [
    Equation {
        what: "records received and not normalised, parked or dropped",
        whole: |counts| counts.received,
        parts: |counts| counts.known + counts.normalized + counts.parked + counts.dropped,
    },
    Equation { what: "events not archived", whole: |counts| counts.events, parts: |counts| counts.archived },
    Equation {
        what: "events not filed hot",
        whole: |counts| counts.events,
        parts: |counts| counts.hot + counts.expired,
    },
    Equation {
        what: "alerts not notified, silenced or given up on",
        whole: |counts| counts.alerts,
        parts: |counts| counts.notified + counts.silenced + counts.undeliverable,
    },
];

struct Equation {
    what: &'static str,
    whole: fn(&Counts) -> u64,
    parts: fn(&Counts) -> u64,
}

/// What one row's equation has to reach, and since when.
#[derive(Clone, Copy, Debug)]
struct Open {
    since_us: i64,
    whole: u64,
    surplus: bool,
    told: bool,
}

/// A difference that has been open too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Whose, what and how much.
    pub sentence: String,
    /// Whether it was not one at the last look.
    pub new: bool,
}

/// The differences that are open.
#[derive(Debug, Default)]
pub struct Alarms(BTreeMap<(LedgerKey, usize), Open>);

impl Alarms {
    /// Looks at the books; answers with the differences that have been open too long.
    pub fn look(&mut self, books: &Books, now_us: i64) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        let mut still_open = BTreeMap::new();
        for (key, counts) in books.iter() {
            for (number, equation) in EQUATIONS.iter().enumerate() {
                let (whole, parts) = ((equation.whole)(counts), (equation.parts)(counts));
                let place = (key.clone(), number);
                let Some(mut open) = next(self.0.get(&place), whole, parts, now_us) else { continue };
                if now_us - open.since_us > MAX_OPEN_US {
                    alarms.push(Alarm { sentence: sentence(key, equation.what, whole, parts), new: !open.told });
                    open.told = true;
                }
                still_open.insert(place, open);
            }
        }
        self.0 = still_open;
        alarms
    }
}

fn next(before: Option<&Open>, whole: u64, parts: u64, now_us: i64) -> Option<Open> {
    let surplus = parts > whole;
    if parts == whole {
        return None;
    }
    match before {
        // Still the same debt: what was in by then is not all accounted for.
        Some(open) if open.surplus == surplus && (surplus || parts < open.whole) => Some(*open),
        _ => Some(Open { since_us: now_us, whole, surplus, told: false }),
    }
}

fn sentence(key: &LedgerKey, what: &str, whole: u64, parts: u64) -> String {
    let LedgerKey { source, tenant, domain } = key;
    let difference = i128::from(whole) - i128::from(parts);
    format!("{source} of {tenant} ({domain}): {difference} {what} for more than a minute")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: i64 = 1_000_000;

    fn books(received: u64, normalized: u64) -> Books {
        let mut books = Books::default();
        let key = LedgerKey { source: "dns".into(), tenant: "acme".into(), domain: "live".into() };
        books.add(&key, Counts { received, normalized, ..Counts::default() });
        books
    }

    #[test]
    fn a_moving_difference_is_none() {
        let mut alarms = Alarms::default();
        for second in 0..600 {
            let received = 1_000 * (u64::try_from(second).unwrap() + 10);
            assert!(alarms.look(&books(received, received - 9_000), second * SECOND_US).is_empty(), "{second}");
        }
    }

    #[test]
    fn a_standing_difference_is_an_alarm_after_a_minute() {
        let mut alarms = Alarms::default();
        for second in 0..=60 {
            assert!(alarms.look(&books(100, 99), second * SECOND_US).is_empty(), "{second}");
        }
        let found = alarms.look(&books(100, 99), 61 * SECOND_US);
        assert!(found[0].sentence.contains("dns of acme (live): 1 records received"), "{found:?}");
        assert_eq!((found.len(), found[0].new), (1, true));
        assert!(!alarms.look(&books(100, 99), 61 * SECOND_US)[0].new);
        assert!(alarms.look(&books(100, 100), 62 * SECOND_US).is_empty());
        assert!(alarms.look(&books(101, 100), 63 * SECOND_US).is_empty(), "a new one begins anew");
    }

    #[test]
    fn a_surplus_is_an_alarm_too() {
        let mut alarms = Alarms::default();
        assert!(alarms.look(&books(100, 105), 0).is_empty());
        assert!(alarms.look(&books(200, 205), 61 * SECOND_US)[0].sentence.contains("-5 records"));
    }
}
