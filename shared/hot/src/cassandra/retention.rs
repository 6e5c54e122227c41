//! How long rows live: retention counts from the received time.

/// What a row's table adds to the life of the rows it leads to: so long, a row of the directory need not be written
/// again.
const SLACK_SHARE: i64 = 32;

const SECOND_US: i64 = 1_000_000;
const HOUR_US: i64 = 3_600 * SECOND_US;

/// Retention of a store whose rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retention {
    us: i64,
}

impl Retention {
    /// Of so many microseconds.
    pub(super) const fn new(us: i64) -> Self {
        Self { us }
    }

    /// In seconds.
    pub(super) const fn seconds(self) -> i64 {
        self.us / SECOND_US
    }

    /// How long a row received then still lives, seconds; none if it is over. Never longer than the retention, whatever
    /// the clocks of others say.
    pub(super) fn live_s(self, received_us: i64, now_us: i64) -> Option<i32> {
        let left_us = received_us.min(now_us).checked_add(self.us)?.checked_sub(now_us)?;
        i32::try_from(left_us / SECOND_US).ok().filter(|left_s| *left_s >= 1)
    }

    /// How long after it was written a row of the directory outlives every row it leads to, microseconds.
    pub(super) fn slack_us(self) -> i64 {
        (self.us / SLACK_SHARE).max(HOUR_US)
    }

    /// How long a row of the directory lives, seconds.
    pub(super) fn directory_s(self) -> i32 {
        i32::try_from((self.us + self.slack_us()) / SECOND_US).unwrap_or(i32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_live_from_when_they_were_received() {
        let retention = Retention::new(10 * 24 * HOUR_US);
        let live_s = |received_us, now_us| retention.live_s(received_us, now_us);
        assert_eq!(live_s(0, 0), Some(864_000));
        assert_eq!(live_s(0, 5 * 24 * HOUR_US), Some(432_000));
        assert_eq!(live_s(0, 10 * 24 * HOUR_US - SECOND_US), Some(1));
        assert_eq!(live_s(0, 10 * 24 * HOUR_US - 1), None, "0 would be for ever");
        assert_eq!(live_s(0, 11 * 24 * HOUR_US), None);
        assert_eq!(live_s(9 * HOUR_US, 0), Some(864_000), "a clock that is ahead");
        assert_eq!(live_s(i64::MIN, i64::MAX), None);
        assert!(retention.directory_s() >= 864_000 + 27_000);
    }
}
