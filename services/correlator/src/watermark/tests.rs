use super::*;

const IDLE_US: i64 = 60;

fn key(input: u64) -> InputKey {
    ("c1-0".to_owned(), input)
}

fn opening(tenant: Option<&str>, domain_inputs: u32) -> Opening {
    let tenant = tenant.map(|name| name.parse().unwrap());
    Opening { tenant, lateness_us: 10, received_us: 1_000, domain_inputs }
}

#[test]
fn the_slowest_open_input_holds_the_watermark() {
    let mut clock = Clock::new(true);
    clock.open(key(1), &opening(None, 0));
    clock.open(key(2), &opening(Some("acme"), 0));
    clock.events(&key(1), Some(500), 1_001);
    clock.events(&key(2), Some(300), 1_002);
    assert_eq!(clock.watermark("acme", 1_002, IDLE_US), 290);
    assert_eq!(clock.watermark("globex", 1_002, IDLE_US), 490);
    clock.events(&key(2), Some(200), 1_003);
    assert_eq!(clock.watermark("acme", 1_003, IDLE_US), 290);
    clock.close(&key(2));
    assert_eq!(clock.watermark("acme", 1_003, IDLE_US), 490);
}

#[test]
fn a_live_input_goes_on_by_heartbeats_and_is_left_out_when_silent() {
    let mut clock = Clock::new(true);
    clock.open(key(1), &opening(None, 0));
    clock.events(&key(1), Some(500), 1_000);
    clock.heartbeat(&key(1), 1_050);
    assert_eq!(clock.watermark("acme", 1_050, IDLE_US), 1_040);
    clock.open(key(2), &opening(None, 0));
    assert_eq!(clock.watermark("acme", 1_050, IDLE_US), BEGINNING_US);
    assert_eq!(clock.watermark("acme", 1_070, IDLE_US), 1_040);
    assert_eq!(clock.watermark("acme", 1_200, IDLE_US), 1_190);
}

#[test]
fn a_backfill_waits_for_all_inputs_and_ends_with_the_last() {
    let mut clock = Clock::new(false);
    clock.open(key(1), &opening(Some("acme"), 2));
    clock.events(&key(1), Some(900), 1_000);
    clock.heartbeat(&key(1), 5_000);
    clock.close(&key(1));
    assert_eq!(clock.watermark("acme", 9_999, IDLE_US), BEGINNING_US);
    assert!(!clock.is_over());
    clock.open(key(2), &opening(Some("acme"), 2));
    clock.events(&key(2), Some(100), 1_000);
    clock.heartbeat(&key(2), 5_000);
    assert_eq!(clock.watermark("acme", 9_999, IDLE_US), 90);
    clock.close(&key(2));
    assert!(clock.is_over());
    assert_eq!(clock.watermark("acme", 9_999, IDLE_US), END_US);
}

#[test]
fn an_input_is_opened_once_and_may_be_met_by_its_events() {
    let mut clock = Clock::new(false);
    clock.events(&key(7), Some(50), 1);
    clock.open(key(7), &opening(None, 1));
    assert_eq!(clock.newest_us(&key(7)), Some(50));
    assert_eq!(clock.watermark("acme", 1, IDLE_US), 50 - DEFAULT_LATENESS_US);
    clock.close(&key(7));
    assert!(clock.is_over());
    clock.close(&key(8));
    assert_eq!(clock.newest_us(&key(8)), None);
}
