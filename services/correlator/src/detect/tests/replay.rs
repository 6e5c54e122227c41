//! What a detector does is a function of what came before, whenever its state was written down and read again.

use proptest::prelude::*;

use super::*;

const RULES: &str = include_str!("../../../tests/testdata/logins.yml");

#[derive(Clone, Debug)]
enum Step {
    Events(u64, Vec<(i64, u8, u8)>),
    Open(u64),
    Close(u64),
    Heartbeat(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let event = (0..25_i64, 0..6_u8, 0..5_u8);
    let input = 0..3_u64;
    let step = prop_oneof![
        6 => (input.clone(), prop::collection::vec(event, 1..8)).prop_map(|(input, events)| Step::Events(input, events)),
        1 => input.clone().prop_map(Step::Open),
        1 => input.clone().prop_map(Step::Close),
        1 => input.prop_map(Step::Heartbeat),
    ];
    prop::collection::vec(step, 1..60)
}

fn apply(detector: &mut Detector, at: i64, domain: &'static str, step: &Step) -> Output {
    let arrive = |input| Arrival { lane: "c1-0", input, domain, received_us: at * 10 * SECOND_US };
    match step {
        Step::Events(input, events) => {
            let event = |&(ago, ip, user): &(i64, u8, u8)| {
                login(at * 10 - ago, &format!("10.0.0.{ip}"), &format!("user{user}"), 2)
            };
            let events: Vec<Value> = events.iter().map(event).collect();
            detector.events(&arrive(*input), &batch(Class::Authentication, &events))
        }
        Step::Open(input) => detector.control(&arrive(*input), &control(Entry::Open)),
        Step::Close(input) => detector.control(&arrive(*input), &control(Entry::Close)),
        Step::Heartbeat(input) => detector.control(&arrive(*input), &control(Entry::Heartbeat)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_state_that_was_written_and_read_goes_on_the_same(steps in steps(), every in 1..7_usize, live: bool) {
        let domain = if live { LIVE_DOMAIN } else { BACKFILL };
        let compiled = compiled(&[RuleFile { path: "a".to_owned(), text: RULES.to_owned() }]);
        let small = Limits { groups_per_rule: 4, idle_us: 30 * SECOND_US };
        let mut undisturbed = Detector::new(Arc::clone(&compiled), small.clone());
        let mut disturbed = Detector::new(Arc::clone(&compiled), small.clone());
        for (at, step) in steps.iter().enumerate() {
            if at % every == 0 {
                let image = disturbed.image().unwrap();
                disturbed = Detector::from_image(&image, Arc::clone(&compiled), small.clone()).unwrap();
                prop_assert_eq!(disturbed.image().unwrap(), image);
            }
            let expected = apply(&mut undisturbed, at as i64, domain, step);
            prop_assert_eq!(apply(&mut disturbed, at as i64, domain, step), expected);
        }
        prop_assert_eq!(disturbed.image().unwrap(), undisturbed.image().unwrap());
    }
}

#[test]
fn damaged_images_are_refused() {
    let mut detector = detector(RULES);
    detector.events(&arrival(0), &batch(Class::Authentication, &[login(0, "10.0.0.1", "eve", 2)]));
    let image = detector.image().unwrap();
    let compiled = Arc::clone(detector.rules());
    for length in 0..image.len() {
        assert!(Detector::from_image(&image[..length], Arc::clone(&compiled), limits()).is_err(), "{length}");
    }
}
