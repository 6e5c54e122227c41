//! When to try again: exponential back-off with a jitter that is a hash, a cap, and an end.

use crate::episode::Notification;

/// A receiver's own wish to wait is obeyed up to this.
const MAX_RETRY_AFTER_US: i64 = 3_600_000_000;

/// How often and how long a message is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts at most.
    pub max_attempts: u32,
    /// Age of a message at most, microseconds.
    pub max_age_us: i64,
    /// The wait after the first attempt, before jitter, microseconds.
    pub base_us: i64,
    /// The longest wait, before jitter, microseconds.
    pub cap_us: i64,
}

impl Retry {
    /// When to try a message again after a failed attempt, counted in its `attempts`; none to give up.
    #[must_use]
    pub fn next_us(&self, message: &Notification, retry_after_us: Option<i64>, now_us: i64) -> Option<i64> {
        if message.attempts >= self.max_attempts {
            return None;
        }
        let doublings = message.attempts.saturating_sub(1).min(62);
        let whole_us = self.base_us.saturating_mul(1_i64 << doublings).min(self.cap_us);
        let wait_us = whole_us / 2 + jitter(message, whole_us - whole_us / 2);
        let next_us = now_us.saturating_add(wait_us.max(retry_after_us.unwrap_or(0).clamp(0, MAX_RETRY_AFTER_US)));
        (next_us - message.created_us <= self.max_age_us).then_some(next_us)
    }
}

/// Evenly between 0 and `up_to_us`, the same for the same message and attempt.
fn jitter(message: &Notification, up_to_us: i64) -> i64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(message.id.as_bytes()).update(&message.attempts.to_le_bytes());
    let hash = hasher.finalize();
    let share = hash.as_bytes()[..4].iter().fold(0_i64, |value, byte| value << 8 | i64::from(*byte));
    i64::try_from((i128::from(up_to_us) * i128::from(share)) >> 32).unwrap_or(up_to_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry = Retry { max_attempts: 6, max_age_us: 100_000_000, base_us: 1_000_000, cap_us: 8_000_000 };

    fn message(attempts: u32) -> Notification {
        Notification {
            id: atalaya_model::NotificationId::of("test", &[]),
            ordinal: 0,
            closed: false,
            payload: String::new(),
            created_us: 0,
            attempts,
            next_us: 0,
            last_error: String::new(),
            in_flight: false,
        }
    }

    #[test]
    fn waits_double_up_to_the_cap_and_end() {
        for (attempts, whole_us) in [(1, 1_000_000), (2, 2_000_000), (3, 4_000_000), (5, 8_000_000)] {
            let wait_us = RETRY.next_us(&message(attempts), None, 0).unwrap();
            assert!((whole_us / 2..=whole_us).contains(&wait_us), "{attempts}: {wait_us}");
            assert_eq!(RETRY.next_us(&message(attempts), None, 7), Some(wait_us + 7));
        }
        assert_eq!(RETRY.next_us(&message(6), None, 0), None);
        assert_eq!(RETRY.next_us(&message(1), None, 99_900_000), None);
    }

    #[test]
    fn a_receivers_wish_is_obeyed_within_bounds() {
        assert_eq!(RETRY.next_us(&message(1), Some(30_000_000), 0), Some(30_000_000));
        assert_eq!(RETRY.next_us(&message(1), Some(i64::MAX), 0), None);
    }
}
