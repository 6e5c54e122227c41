//! Quotas at the door: a tenant's batches pass one after the other, each when there is room for it.
//!
//! A batch that has to wait holds its stream back, and that its sender. The streams of a tenant wait for each other, in
//! order, and for nobody else's. What was known already counts as well: it takes the same way.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atalaya_model::{Quotas, Tenant};
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;

use crate::config::Config;
use crate::quota::Meter;
use crate::telemetry;

/// What takes less was not held: timers are no finer.
const HELD_FROM: Duration = Duration::from_millis(1);

/// The turnstiles of all tenants.
pub(crate) struct Turnstiles {
    default: Quotas,
    own: BTreeMap<Tenant, Quotas>,
    hold: Duration,
    /// One for each tenant that has pushed: no more than there are tenants with tokens.
    used: Mutex<HashMap<Tenant, Arc<Turnstile>>>,
}

impl Turnstiles {
    pub(crate) fn new(config: &Config) -> Self {
        let hold = Duration::from_millis(config.quota_hold_ms);
        Self { default: config.quotas, own: config.tenant_quotas.clone(), hold, used: Mutex::default() }
    }

    /// A tenant's turnstile, the same for all its streams; none if the tenant has no quota.
    pub(super) fn of(&self, tenant: &Tenant) -> Option<Arc<Turnstile>> {
        let quotas = self.own.get(tenant).copied().unwrap_or_default().or(self.default);
        if quotas == Quotas::default() {
            return None;
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let turnstile = used.entry(tenant.clone()).or_insert_with(|| {
            let (meter, since) = (tokio::sync::Mutex::new(Meter::new(quotas)), Instant::now());
            Arc::new(Turnstile { tenant: tenant.clone(), quotas, hold: self.hold, since, meter })
        });
        Some(Arc::clone(turnstile))
    }
}

/// A tenant's turnstile.
pub(super) struct Turnstile {
    tenant: Tenant,
    quotas: Quotas,
    hold: Duration,
    since: Instant,
    /// Held by the batch whose turn it is; the others stand in line for it.
    meter: tokio::sync::Mutex<Meter>,
}

impl Turnstile {
    /// Waits until a batch may pass. Cancel-safe: nothing is taken off for one that does not. `first` says that none of
    /// the stream was held before.
    ///
    /// # Errors
    /// [`tonic::Code::ResourceExhausted`] if its turn does not come within the hold.
    pub(super) async fn pass(&self, producer: &str, records: u64, bytes: u64, first: &mut bool) -> Result<(), Status> {
        let begun = Instant::now();
        let passing = async {
            let mut meter = self.meter.lock().await;
            while let Err(wait) = meter.take(records, bytes, self.since.elapsed()) {
                sleep(wait).await;
            }
        };
        let passed = timeout(self.hold, passing).await;
        let held = begun.elapsed();
        if held >= HELD_FROM {
            telemetry::quota_held(&self.tenant, producer, held, std::mem::take(first));
        }
        passed.map_err(|_| self.refusal(producer))
    }

    fn refusal(&self, producer: &str) -> Status {
        let Self { tenant, quotas, hold, .. } = self;
        let reason = format!(
            "tenant '{tenant}' pushes more than its quota of {quotas}: the batch was held for {hold:?} and is not taken \
             in. Push it again later and push less, or raise quotas in tenants/{tenant}.yaml, or collector.quotas in \
             atalaya.yaml"
        );
        telemetry::quota_refused(tenant, producer, &reason);
        Status::resource_exhausted(reason)
    }
}
