//! The collector's own lease: while it is held, producers that belong to it go to no other.

use std::sync::Arc;
use std::time::Duration;

use atalaya_bus::{Bucket, BucketError, Lease};

use crate::telemetry;

/// The bucket of leases.
pub(crate) const LEASES: &str = "leases";

/// How long a collector that says nothing counts as alive, milliseconds.
const TTL_MS: u64 = 15_000;

/// Time between two signs of life, milliseconds.
const RENEW_MS: u64 = 5_000;

fn name(collector: &str) -> String {
    format!("collector.{collector}")
}

/// Whether a collector is alive.
pub(crate) async fn is_alive(leases: &dyn Bucket, collector: &str) -> Result<bool, BucketError> {
    Ok(leases.get(&name(collector)).await?.is_some_and(|entry| !entry.value.is_empty()))
}

/// Holds the lease as well as it can, for ever. The fences are what guards the lanes.
pub(crate) async fn hold(leases: Arc<dyn Bucket>, collector: String) {
    let ttl = Duration::from_millis(TTL_MS);
    let mut held: Option<Lease> = None;
    loop {
        let outcome = match &mut held {
            Some(lease) => lease.renew().await.map(|renewed| {
                if !renewed {
                    held = None;
                }
            }),
            None => {
                Lease::acquire(Arc::clone(&leases), &name(&collector), &collector, ttl).await.map(|lease| held = lease)
            }
        };
        match outcome {
            Err(error) => telemetry::presence_lost(&collector, &error.to_string()),
            Ok(()) if held.is_none() => telemetry::presence_lost(&collector, "somebody else has it"),
            Ok(()) => {}
        }
        tokio::time::sleep(Duration::from_millis(RENEW_MS)).await;
    }
}
