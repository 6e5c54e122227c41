//! How much a tenant may push: a token bucket for its records, and one for their bytes. Pure.
//!
//! A bucket is full at first, is given `per_s` tokens a second and holds `burst`. What is larger than a full bucket passes
//! when it is full and leaves a debt, which the next one waits for: no batch is too large for ever, and the rate holds.

use std::time::Duration;

use atalaya_model::{Quotas, Rate};

/// A token in the unit a bucket counts in: what a rate of one a second gives in a microsecond is one.
const TOKEN: i128 = 1_000_000;

#[derive(Clone, Debug)]
struct Bucket {
    per_s: i128,
    capacity: i128,
    /// Below 0 is a debt.
    level: i128,
    at_us: i128,
}

impl Bucket {
    fn full(rate: Rate) -> Self {
        let capacity = i128::from(rate.burst().get()) * TOKEN;
        Self { per_s: i128::from(rate.per_s.get()), capacity, level: capacity, at_us: 0 }
    }

    fn fill(&mut self, now_us: i128) {
        let passed_us = (now_us - self.at_us).max(0);
        self.level = (self.level + passed_us * self.per_s).min(self.capacity);
        self.at_us = self.at_us.max(now_us);
    }

    /// How long until it has these tokens, or is full.
    fn wait_us(&self, tokens: u64) -> i128 {
        let missing = (i128::from(tokens) * TOKEN).min(self.capacity) - self.level;
        // Up, so that whoever waits finds what it waited for.
        (missing.max(0) + self.per_s - 1) / self.per_s
    }
}

/// What a tenant may still push.
#[derive(Clone, Debug)]
pub struct Meter {
    records: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl Meter {
    /// Full buckets, at time 0.
    #[must_use]
    pub fn new(quotas: Quotas) -> Self {
        Self { records: quotas.records.map(Bucket::full), bytes: quotas.bytes.map(Bucket::full) }
    }

    /// Takes a batch of so many records and bytes off, `now` after the beginning.
    ///
    /// # Errors
    /// Too little is there, and nothing is taken: how long until there is enough, if nobody else takes of it.
    pub fn take(&mut self, records: u64, bytes: u64, now: Duration) -> Result<(), Duration> {
        let now_us = i128::try_from(now.as_micros()).unwrap_or(i128::MAX);
        let mut buckets = [(self.records.as_mut(), records), (self.bytes.as_mut(), bytes)];
        let mut wait_us = 0;
        for (bucket, tokens) in &mut buckets {
            let Some(bucket) = bucket else { continue };
            bucket.fill(now_us);
            wait_us = bucket.wait_us(*tokens).max(wait_us);
        }
        if wait_us > 0 {
            return Err(Duration::from_micros(u64::try_from(wait_us).unwrap_or(u64::MAX)));
        }
        for (bucket, tokens) in buckets {
            if let Some(bucket) = bucket {
                bucket.level -= i128::from(tokens) * TOKEN;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use proptest::prelude::*;

    use super::*;

    fn rate(per_s: u64, burst: u64) -> Option<Rate> {
        Some(Rate { per_s: NonZeroU64::new(per_s)?, burst: NonZeroU64::new(burst) })
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_passes_and_the_rate_holds_after_it() {
        let mut meter = Meter::new(Quotas { records: rate(10, 20), bytes: None });
        assert_eq!(meter.take(20, u64::MAX, ms(0)), Ok(()));
        assert_eq!(meter.take(1, 0, ms(0)), Err(ms(100)));
        assert_eq!(meter.take(1, 0, ms(100)), Ok(()));
        assert_eq!(meter.take(5, 0, ms(100)), Err(ms(500)));
        // A pause is worth no more than the burst.
        assert_eq!(meter.take(20, 0, ms(60_000)), Ok(()));
        assert_eq!(meter.take(1, 0, ms(60_000)), Err(ms(100)));
        // Time that goes back gives nothing, and takes nothing.
        assert_eq!(meter.take(1, 0, ms(0)), Err(ms(100)));
        assert_eq!(meter.take(1, 0, ms(60_100)), Ok(()));
    }

    #[test]
    fn what_is_larger_than_the_burst_passes_and_is_paid_for() {
        let mut meter = Meter::new(Quotas { records: rate(10, 20), bytes: None });
        assert_eq!(meter.take(1, 0, ms(0)), Ok(()));
        assert_eq!(meter.take(50, 0, ms(0)), Err(ms(100)));
        assert_eq!(meter.take(50, 0, ms(100)), Ok(()));
        assert_eq!(meter.take(1, 0, ms(100)), Err(ms(3_100)));
    }

    #[test]
    fn either_quota_holds_a_batch_and_then_nothing_is_taken() {
        let mut meter = Meter::new(Quotas { records: rate(10, 10), bytes: rate(1_000, 2_000) });
        assert_eq!(meter.take(5, 2_000, ms(0)), Ok(()));
        assert_eq!(meter.take(5, 1_000, ms(0)), Err(ms(1_000)));
        assert_eq!(meter.take(5, 0, ms(0)), Ok(()));
        assert_eq!(meter.take(0, 0, ms(0)), Ok(()));
        let mut unlimited = Meter::new(Quotas::default());
        assert_eq!(unlimited.take(u64::MAX, u64::MAX, ms(0)), Ok(()));
    }

    proptest! {
        /// Whoever waits as long as it is told passes; and in any time no more passes than the burst, what the rate
        /// gives, and one batch.
        #[test]
        fn no_more_passes_than_the_rate_gives(
            per_s in 1..100_000_u64,
            burst in 1..100_000_u64,
            batches in prop::collection::vec((0..10_000_u64, 0..500_000_u64), 1..50),
        ) {
            let mut meter = Meter::new(Quotas { records: rate(per_s, burst), bytes: None });
            let (mut now, mut before) = (Duration::ZERO, 0_u128);
            for (records, pause_us) in batches {
                now += Duration::from_micros(pause_us);
                if let Err(wait) = meter.take(records, 0, now) {
                    prop_assert_eq!(meter.take(records, 0, now + wait - Duration::from_micros(1)).is_err(), true);
                    now += wait;
                    prop_assert_eq!(meter.take(records, 0, now), Ok(()));
                }
                let given = u128::from(burst) * 1_000_000 + now.as_micros() * u128::from(per_s);
                prop_assert!(before * 1_000_000 <= given, "{before} records in {now:?}");
                before += u128::from(records);
            }
        }
    }
}
