//! Notifiers die in the middle of a call, lose answers and are overtaken; removed entries come back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_bus::Bucket;
use atalaya_model::{Alert, AlertState, Counts};
use atalaya_testkit::{Faults, Life};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;

use crate::receiver::{self, Post};
use crate::stage::{Living, Stage, alert, hook, route};

const SEEDS: u64 = 24;
const LIVES: u64 = 8;

/// Seeds at the same time: other tests of the suite measure time.
const AT_ONCE: usize = 4;

/// Alerts opened in a life, each of a group of its own; in the next life they are over.
const ALERTS: u64 = 6;

/// How long a notifier lives at most; many die earlier, in the middle of a call.
const LIFE: Duration = Duration::from_millis(900);

/// Odds that a notifier is overtaken: its successor runs while it still believes that it holds the lease.
const OVERTAKEN: f64 = 0.3;

/// Odds that a removed entry comes back.
const COMES_BACK: f64 = 0.5;

/// A read that fails or a request that is lost ends a worker for a second: not too often, or nothing ever happens.
const FAULTS: Faults = Faults { lose_request: 0.01, fail_read: 0.002, crash: 0.01, ..Faults::ROUGH };

#[tokio::test(flavor = "multi_thread")]
async fn no_crash_and_no_lost_answer_loses_an_alert_or_counts_it_twice() {
    futures::stream::iter(1..=SEEDS).for_each_concurrent(AT_ONCE, play).await;
}

async fn play(seed: u64) {
    let stage = Stage::small().await;
    let receiver = receiver::start(|_, nth| if nth % 7 == 3 { 503 } else { 200 }).await;
    let routes = vec![route("soc", hook(&receiver, &stage))];
    let dice = Life::new(seed, Faults::NONE);
    let (mut past, mut alive) = (Past::default(), VecDeque::<Living>::new());
    for number in 0..LIVES {
        let living = stage.live(routes.clone(), Life::new(seed << 32 | number, FAULTS));
        let lifetime = LIFE.mul_f64(((seed * 7 + number * 5) % 13 + 1) as f64 / 13.0);
        feed(&stage, number, lifetime, &living.life, &mut past).await;
        alive.push_back(living);
        let overtaken = dice.happens(OVERTAKEN, "overtaken", "");
        while alive.len() > usize::from(overtaken) {
            alive.pop_front().unwrap().crash().await;
        }
        past.note(stage.outbox().await.as_ref()).await;
        past.come_back(stage.outbox().await.as_ref(), &dice).await;
        stage.break_lease().await;
    }
    join_all(alive.into_iter().map(Living::crash)).await;
    stage.break_lease().await;
    let expected = Counts { notified: LIVES * ALERTS, ..Counts::default() };
    // The second one counts again what the first one left.
    for _ in 0..2 {
        let running = stage.start(routes.clone());
        stage.settled(expected).await;
        running.drain().await;
        assert_eq!(stage.floor().await.books.total(|_| true), expected, "seed {seed}");
    }
    check(seed, &receiver.posts());
}

/// Opens alerts, ends those of the life before, and looks at the outbox meanwhile.
async fn feed(stage: &Stage, number: u64, lifetime: Duration, life: &Life, past: &mut Past) {
    let begun = Instant::now();
    let alerts = |number: u64, state| (0..ALERTS).map(move |at| of(number * ALERTS + at, state));
    let over = number.checked_sub(1).into_iter().flat_map(|before| alerts(before, AlertState::Closed));
    let all: Vec<Alert> = over.chain(alerts(number, AlertState::Opened)).collect();
    for (few, at) in all.chunks(4).zip(1..) {
        stage.publish(number * 100 + at, few).await;
        past.note(stage.outbox().await.as_ref()).await;
    }
    while begun.elapsed() < lifetime && !life.is_dead() {
        past.note(stage.outbox().await.as_ref()).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn of(number: u64, state: AlertState) -> Alert {
    alert(number, &format!("10.0.{}.{}", number / 256, number % 256), state)
}

/// Every alert was told of, and the same message was never two.
fn check(seed: u64, posts: &[Post]) {
    let mut bodies: BTreeMap<&str, &str> = BTreeMap::new();
    for post in posts {
        let body = bodies.entry(&post.key).or_insert(&post.body);
        assert_eq!(*body, post.body, "seed {seed}: one key");
    }
    let openings = posts.iter().filter(|post| post.occasion() == "opening");
    let (keys, groups): (BTreeSet<_>, BTreeSet<_>) = openings.map(|post| (&post.key, post.group_key())).unzip();
    let alerts = usize::try_from(LIVES * ALERTS).unwrap();
    assert_eq!((keys.len(), groups.len()), (alerts, alerts), "seed {seed}");
}

/// The episodes' entries as they were, version after version.
#[derive(Default)]
struct Past(BTreeMap<String, Vec<Bytes>>);

impl Past {
    async fn note(&mut self, outbox: &dyn Bucket) {
        for entry in outbox.list("episode.").await.unwrap() {
            let versions = self.0.entry(entry.key).or_default();
            if versions.last() != Some(&entry.value) {
                versions.push(entry.value);
            }
        }
    }

    /// Removed entries come back in some version of theirs, as a killed NATS has it.
    async fn come_back(&self, outbox: &dyn Bucket, dice: &Arc<Life>) {
        for (key, versions) in &self.0 {
            let is_gone = outbox.get(key).await.unwrap().is_none();
            if is_gone && dice.happens(COMES_BACK, "comes back", key) {
                let newest = versions.len() - 1;
                let at = if dice.happens(0.5, "older", key) { newest.saturating_sub(1) } else { newest };
                // Whoever was overtaken may be faster.
                let _ = outbox.put(key, versions[at].clone(), 0, None).await;
            }
        }
    }
}
