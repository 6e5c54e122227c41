//! What the alerts must be: the pure core over the stream, with other rules from given positions on.

use std::sync::Arc;

use atalaya_bus::{Kind, Message};
use atalaya_correlator::detect::{Arrival, Compiled, Detector, Output};
use atalaya_correlator::sigma::{RuleFile, load};
use atalaya_model::{Alert, AlertState};
use atalaya_proto::raw_v1::RawHeader;
use atalaya_schema::batch_of;
use prost::Message as _;

use crate::world::{PARTITIONS, World, limits};

/// Rules, and the position of the last message that was judged by those before.
pub(crate) type Change<'t> = (u64, &'t str);

fn compile(rules: &str) -> Arc<Compiled> {
    let set = load(&[RuleFile { path: "rules.yml".to_owned(), text: rules.to_owned() }]);
    assert_eq!(set.refused, []);
    Arc::new(Compiled::new(set).unwrap())
}

/// The alerts of one partition, in order.
pub(crate) fn alerts(messages: &[Message], rules: &str, changes: &[Change<'_>]) -> Vec<Alert> {
    let mut detector = Detector::new(compile(rules), limits());
    let (mut changes, mut alerts) = (changes.iter().peekable(), Vec::new());
    for message in messages {
        while let Some((_, rules)) = changes.next_if(|(after, _)| *after < message.sequence) {
            alerts.extend(detector.switch(compile(rules)));
        }
        alerts.extend(see(&mut detector, message).alerts);
    }
    alerts
}

fn see(detector: &mut Detector, message: &Message) -> Output {
    let headers = &message.headers;
    let arrival = Arrival {
        lane: message.subject.token(2).unwrap(),
        input: headers.input,
        domain: &headers.domain,
        received_us: headers.received_time_us,
    };
    match headers.kind {
        Kind::Data => detector.events(&arrival, batch_of(None, &message.body).unwrap().as_ref()),
        Kind::Input => detector.control(&arrival, &RawHeader::decode(message.body.clone()).unwrap()),
        Kind::Mark => Output::default(),
    }
}

/// What was written is what the core says, in every partition; `changes` are those of each partition.
pub(crate) async fn check(world: &World, rules: &str, changes: impl Fn(u16) -> Vec<Change<'static>>) {
    for partition in 0..PARTITIONS {
        let expected = alerts(&world.events(partition).await, rules, &changes(partition));
        let of = |state| expected.iter().filter(|alert| alert.state == state).count();
        assert!(of(AlertState::Opened) > 0 && of(AlertState::Closed) > 0, "a script that shows nothing");
        let found = world.alerts(partition).await;
        let names = |alerts: &[Alert]| alerts.iter().map(name).collect::<Vec<_>>();
        assert_eq!(names(&found), names(&expected), "partition {partition}");
        let different = found.iter().zip(&expected).find(|(found, expected)| found != expected);
        assert_eq!(different, None, "partition {partition}");
    }
}

fn name(alert: &Alert) -> String {
    format!("{} {} {} {:?} {:?}", alert.title, alert.group_key, alert.version, alert.state, alert.id)
}
