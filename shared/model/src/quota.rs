//! How much a tenant may push.

use std::fmt;
use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

/// What a tenant may push to one collector; no limit where none is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// Records.
    pub records: Option<Rate>,
    /// Bytes of records, without framing and before compression.
    pub bytes: Option<Rate>,
}

/// So much a second, and so much at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// In every second.
    pub per_s: NonZeroU64,
    /// At once; what one second allows if not given.
    #[serde(default)]
    pub burst: Option<NonZeroU64>,
}

impl Quotas {
    /// These, and where they say nothing, those.
    #[must_use]
    pub fn or(self, those: Self) -> Self {
        Self { records: self.records.or(those.records), bytes: self.bytes.or(those.bytes) }
    }
}

impl Rate {
    /// How much may come at once.
    #[must_use]
    pub fn burst(&self) -> NonZeroU64 {
        self.burst.unwrap_or(self.per_s)
    }
}

impl fmt::Display for Quotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given = [(self.records, "records"), (self.bytes, "bytes")];
        let given: Vec<_> = given.into_iter().filter_map(|(rate, what)| Some((rate?, what))).collect();
        if given.is_empty() {
            return f.write_str("no limit");
        }
        for (at, (rate, what)) in given.iter().enumerate() {
            let and = if at > 0 { " and " } else { "" };
            write!(f, "{and}{} {what} a second (burst {})", rate.per_s, rate.burst())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tenant_says_comes_before_the_default() {
        let read = |text: &str| serde_saphyr::from_str::<Quotas>(text);
        let own = read("records: {per_s: 10}").unwrap();
        let default = read("{records: {per_s: 7, burst: 9}, bytes: {per_s: 1000, burst: 5000}}").unwrap();
        assert_eq!(own.or(default), Quotas { records: own.records, bytes: default.bytes });
        let said = "10 records a second (burst 10) and 1000 bytes a second (burst 5000)";
        assert_eq!(own.or(default).to_string(), said);
        assert_eq!(Quotas::default().to_string(), "no limit");
        for wrong in
            ["records: {per_s: 0}", "records: {burst: 5}", "records: {per_s: 1, burst: 0}", "events: {per_s: 1}"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
