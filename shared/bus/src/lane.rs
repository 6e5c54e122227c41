//! What one writer owns: its fence, its marks, and the chains its readers follow.

use atalaya_model::LaneId;

use crate::{Fence, Filter, Stream, Subject};

/// The output of one writer of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputLane {
    stream: Stream,
    fence: Filter,
    mark: Subject,
}

impl OutputLane {
    /// A collector's lane: `raw.<lane>.<source>`.
    #[must_use]
    pub fn raw(lane: &LaneId) -> Self {
        Self::of(Stream::Raw, &format!("raw.{lane}.>"), &format!("raw.{lane}.mark"))
    }

    /// A normalizer's output for a lane: `evt.<partition>.<lane>.<class>`.
    #[must_use]
    pub fn evt(lane: &LaneId) -> Self {
        Self::of(Stream::Evt, &format!("evt.*.{lane}.>"), &format!("evt.0.{lane}.mark"))
    }

    /// A correlator's partition: `alert.<partition>`.
    #[must_use]
    pub fn alert(partition: u16) -> Self {
        let subject = format!("alert.{partition}");
        Self::of(Stream::Alert, &subject, &subject)
    }

    /// What a stage parks of a lane: `dlq.<stage>.<lane>`. Characters no token takes become `_`.
    #[must_use]
    pub fn dlq(stage: &str, lane: &str) -> Self {
        let token = |text: &str| -> String {
            let keep = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
            if text.is_empty() { "_".to_owned() } else { text.chars().take(MAX_TOKEN_CHARS).map(keep).collect() }
        };
        let subject = format!("dlq.{}.{}", token(stage), token(lane));
        Self::of(Stream::Dlq, &subject, &subject)
    }

    fn of(stream: Stream, fence: &str, mark: &str) -> Self {
        Self { stream, fence: Filter::of_tokens(fence), mark: Subject::of_tokens(mark) }
    }

    /// The stream it writes to.
    #[must_use]
    pub fn stream(&self) -> Stream {
        self.stream
    }

    /// Everything it writes, and nobody else does.
    #[must_use]
    pub fn filter(&self) -> &Filter {
        &self.fence
    }

    /// Where its marks go.
    #[must_use]
    pub fn mark(&self) -> &Subject {
        &self.mark
    }

    /// The fence for a message of this lane; none if the subject is not the lane's.
    #[must_use]
    pub fn fence(&self, subject: Subject) -> Option<Fence> {
        Fence::new(self.stream, subject, self.fence.clone())
    }

    /// What a trim must leave the newest message of: the fence, and each chain a reader follows.
    #[must_use]
    pub fn kept(&self, partitions: u16) -> Vec<Filter> {
        let mut kept = vec![self.fence.clone()];
        if self.stream == Stream::Evt
            && let Some(lane) = self.mark.token(2)
        {
            kept.extend((0..partitions).map(|partition| Filter::of_tokens(&format!("evt.{partition}.{lane}.>"))));
        }
        kept
    }
}

const MAX_TOKEN_CHARS: usize = 64;

/// What tells chains apart: messages with the same text here are seen by the same readers. None for messages without
/// a chain (actions).
pub(crate) fn chain_of(stream: Stream, subject: &Subject) -> Option<&str> {
    match stream {
        Stream::Raw => Some(subject.prefix(2)),
        Stream::Evt | Stream::Dlq => Some(subject.prefix(3)),
        Stream::Alert => (subject.token(0) == Some("alert")).then(|| subject.as_str()),
    }
}

/// Every message of a chain.
pub(crate) fn chain_filter(stream: Stream, chain: &str) -> Filter {
    match stream {
        Stream::Raw | Stream::Evt => Filter::of_tokens(&format!("{chain}.>")),
        Stream::Alert | Stream::Dlq => Filter::of_tokens(chain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_hold_their_marks_and_chains() {
        let lane: LaneId = "c1-0".parse().unwrap();
        let outputs =
            [OutputLane::raw(&lane), OutputLane::evt(&lane), OutputLane::alert(3), OutputLane::dlq("a b", "")];
        for output in outputs {
            let fence = output.fence(output.mark().clone()).unwrap();
            let chain = chain_of(output.stream(), fence.subject()).unwrap();
            assert!(chain_filter(output.stream(), chain).matches(fence.subject()), "{output:?}");
            assert!(output.kept(2).iter().all(|filter| Filter::new(filter.as_str()).is_ok()), "{output:?}");
        }
        let other = Subject::new("evt.3.c1-1.dns_activity").unwrap();
        assert_eq!(OutputLane::evt(&lane).fence(other), None);
    }

    #[test]
    fn chains_are_what_a_reader_of_a_partition_sees() {
        let chain = |stream, subject: &str| {
            let subject = Subject::new(subject).unwrap();
            chain_of(stream, &subject).map(str::to_owned)
        };
        assert_eq!(chain(Stream::Raw, "raw.c1-0.zeek").as_deref(), Some("raw.c1-0"));
        assert_eq!(chain(Stream::Evt, "evt.3.c1-0.dns_activity").as_deref(), Some("evt.3.c1-0"));
        assert_eq!(chain(Stream::Alert, "alert.3").as_deref(), Some("alert.3"));
        assert_eq!(chain(Stream::Alert, "action.acme"), None);
        assert_eq!(chain(Stream::Dlq, "dlq.normalizer.c1-0").as_deref(), Some("dlq.normalizer.c1-0"));
    }
}
