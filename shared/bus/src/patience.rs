//! The start of a stage: a bus that is away is waited for, as one that goes away later is.

use std::error::Error;
use std::fmt::Display;
use std::time::Duration;

use tokio::time::sleep;

use crate::{AppendError, BucketError, BusError, WriteError};

/// First pause after a question without an answer; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Longest pause between two questions.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Whether an error, or one that it comes from, says only that the bus did not answer: asking again is of use.
#[must_use]
pub fn is_unanswered(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|cause| {
        matches!(cause.downcast_ref(), Some(BusError::Io(_)))
            || matches!(cause.downcast_ref(), Some(BucketError::Io(_)))
            || matches!(cause.downcast_ref(), Some(AppendError::Unanswered(_)))
            || matches!(cause.downcast_ref(), Some(WriteError::Bus(BusError::Io(_))))
    })
}

/// Does something from its beginning again for as long as its error `passes`, and tells each time what is waited for.
///
/// # Errors
/// The first one that does not pass.
pub async fn patiently<T, E: Display, F: Future<Output = Result<T, E>>>(
    mut ask: impl FnMut() -> F,
    passes: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let mut pause = FIRST_PAUSE;
    loop {
        match ask().await {
            Err(error) if passes(&error) => {
                tracing::warn!("not started yet, to be tried again: {error:#}");
            }
            ended => return ended,
        }
        sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_and_what_stays() {
        let io = || BusError::Io("gone".into());
        for error in [
            anyhow::Error::from(io()).context("stream EVT"),
            BucketError::Io("gone".into()).into(),
            WriteError::from(io()).into(),
            AppendError::Unanswered("gone".into()).into(),
        ] {
            assert!(is_unanswered(error.as_ref()), "{error:#}");
        }
        for error in [anyhow::anyhow!("anything"), BusError::Mismatch("another".into()).into()] {
            assert!(!is_unanswered(error.as_ref()), "{error:#}");
        }
    }

    #[tokio::test]
    async fn an_answer_is_waited_for_and_a_refusal_is_told_at_once() {
        let mut answers =
            vec![Err(BusError::Url("x".into())), Ok(7), Err(BusError::Io("b".into())), Err(BusError::Io("a".into()))];
        let mut ask = || std::future::ready(answers.pop().unwrap());
        let passes = |error: &BusError| is_unanswered(error);
        assert_eq!(patiently(&mut ask, passes).await.unwrap(), 7);
        assert!(patiently(&mut ask, passes).await.is_err());
        assert!(answers.is_empty());
    }
}
