//! Silences: alerts that a person does not want to hear of for a while. Bucket `silences`, key `<tenant>.<name>`.

use std::collections::HashMap;

use atalaya_bus::{Bucket, BucketError};
use atalaya_model::{Alert, Tenant};
use serde::{Deserialize, Serialize};

use crate::telemetry;

/// Silences of all tenants at most; beyond, the last by key are not obeyed.
pub const MAX_SILENCES: usize = 10_000;

/// One silence, as it stands in the bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Silence {
    /// The rule, by id or title; every rule if empty.
    pub rule: String,
    /// A value of the alert's group; every one if empty.
    pub entity: String,
    /// Begins then, microseconds since 1970.
    pub from_us: i64,
    /// Ends then, microseconds since 1970.
    pub until_us: i64,
    /// Who silenced.
    pub by: String,
    /// Why.
    pub comment: String,
}

impl Silence {
    fn covers(&self, alert: &Alert, now_us: i64) -> bool {
        let rule = self.rule.is_empty() || self.rule == alert.rule_id || self.rule == alert.title;
        let entity = self.entity.is_empty() || alert.entities.iter().any(|(_, value)| *value == self.entity);
        rule && entity && (self.from_us..self.until_us).contains(&now_us)
    }
}

/// The silences in force.
#[derive(Debug, Default)]
pub struct Silences(HashMap<Tenant, Vec<Silence>>);

impl Silences {
    /// Reads the bucket; an entry that cannot be read is reported and not obeyed.
    ///
    /// # Errors
    /// If the bucket cannot be read.
    pub async fn read(bucket: &dyn Bucket) -> Result<Self, BucketError> {
        let mut silences = Self::default();
        for entry in bucket.list("").await?.into_iter().take(MAX_SILENCES) {
            let tenant = entry.key.split('.').next().and_then(|tenant| tenant.parse::<Tenant>().ok());
            match (tenant, serde_json::from_slice(&entry.value)) {
                (Some(tenant), Ok(silence)) => silences.add(tenant, silence),
                _ => telemetry::silence_unreadable(&entry.key),
            }
        }
        Ok(silences)
    }

    /// Adds one of a tenant.
    pub fn add(&mut self, tenant: Tenant, silence: Silence) {
        self.0.entry(tenant).or_default().push(silence);
    }

    /// Whether an alert is silenced.
    #[must_use]
    pub fn cover(&self, alert: &Alert, now_us: i64) -> bool {
        self.0.get(&alert.tenant).is_some_and(|silences| silences.iter().any(|one| one.covers(alert, now_us)))
    }
}
