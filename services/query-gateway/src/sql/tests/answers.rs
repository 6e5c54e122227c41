//! Answers equal what is counted independently.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;
use futures::TryStreamExt;

use super::world::{CLASS, DAYS, FILES_PER_DAY, HOUR_US, Known, START_US, World, scope};
use atalaya_archive::Covered;

#[tokio::test(flavor = "multi_thread")]
async fn groups_equal_an_independent_count() {
    let world = World::new().await;
    for name in ["acme", "globex", "nobody"] {
        let mut expected = BTreeMap::<String, usize>::new();
        for row in world.of(name) {
            *expected.entry(row.query).or_default() += 1;
        }
        let expected: Vec<_> = expected.into_iter().map(|(query, n)| vec![query, n.to_string()]).collect();
        let found = world.rows(name, "select query, count(*) n from dns_activity group by 1 order by 1").await.unwrap();
        assert_eq!(found, expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_orders_and_functions_give_the_right_rows() {
    let world = World::new().await;
    let count = |wanted: &dyn Fn(&Known) -> bool| world.of("acme").iter().filter(|row| wanted(row)).count().to_string();
    let from = START_US + 30 * HOUR_US;
    for (condition, expected) in [
        ("true", count(&|_| true)),
        ("time >= timestamp '2026-11-25T06:00:00Z'", count(&|row| row.time_us >= from)),
        ("time < '2026-11-25 06:00:00'", count(&|row| row.time_us < from)),
        ("day = '2026-11-25'", count(&|row| (START_US + 24 * HOUR_US..START_US + 48 * HOUR_US).contains(&row.time_us))),
        ("cidr_contains(src_ip, '10.1.0.0/16')", count(&|row| row.src_ip.starts_with("10.1."))),
        ("query = 'host3.example.com'", count(&|row| row.query == "host3.example.com")),
        (
            "query like 'host3%' or src_port in (53, 55)",
            count(&|row| row.query.starts_with("host3") || row.port % 2 == 1),
        ),
        ("not (src_ip <> '10.2.0.4')", count(&|row| row.src_ip == "10.2.0.4")),
        ("answers[1] = query and unmapped['secret'] = 'of acme'", count(&|_| true)),
        ("policy = 'standard' and evt_partition = 0 and evt_seq > 0", count(&|_| true)),
        ("dst_ip is null", count(&|_| true)),
        ("tenant = 'acme'", count(&|_| true)),
        ("tenant = 'globex'", "0".to_owned()),
    ] {
        let sql = format!("select count(*) from dns_activity where {condition}");
        assert_eq!(world.rows("acme", &sql).await.unwrap(), [[expected]], "{condition}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn newest_and_oldest_rows_are_exact() {
    let world = World::new().await;
    for (order, reversed) in [("asc", false), ("desc", true)] {
        for limit in [1, 7, 10_000] {
            let mut expected: Vec<_> = world.of("acme").iter().map(|row| row.time_us).collect();
            expected.sort_unstable();
            if reversed {
                expected.reverse();
            }
            expected.truncate(limit);
            let sql = format!(
                "select cast(cast(time as timestamp) as bigint) t from dns_activity order by time {order} limit {limit}"
            );
            let found: Vec<Vec<String>> = world.rows("acme", &sql).await.unwrap();
            // A cast to a timestamp without a unit has nanoseconds.
            let found: Vec<i64> = found.iter().map(|row| row[0].parse::<i64>().unwrap() / 1_000).collect();
            assert_eq!(found, expected, "{order} {limit}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_without_a_table_is_an_empty_table() {
    let world = World::new().await;
    let sql = "select count(*), max(method) from http_activity";
    assert_eq!(world.rows("acme", sql).await.unwrap(), [["0", ""]]);
    let joined = "select count(*) from dns_activity d left join authentication a on d.src_ip = a.src_ip";
    let expected = world.of("acme").len().to_string();
    assert_eq!(world.rows("acme", joined).await.unwrap(), [[expected]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_rows_are_seen_at_once_and_positions_say_how_far() {
    let mut world = World::new().await;
    let before = world.of("acme").len();
    let last = DAYS * FILES_PER_DAY;
    for extra in 1..=5u64 {
        let row = Known { query: "new".into(), ..world.rows[0].clone() };
        world.append(last + extra, &[row]).await;
        let answer = world.ask("acme", "select count(*) from dns_activity").await.unwrap();
        let positions = answer.positions.clone();
        let found: Vec<_> = answer.stream.try_collect().await.unwrap();
        assert_eq!(super::world::texts(&found), [[(before + usize::try_from(extra).unwrap()).to_string()]]);
        let expected = vec![Covered { scope: scope(0), sequence: last + extra }];
        assert_eq!((positions[0].class, &positions[0].positions), (CLASS, &expected));
        assert_eq!(positions[0].version, Some(last + extra));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_plain_types() {
    let world = World::new().await;
    let answer =
        world.ask("acme", "select event_id, query, time, answers, day, policy from dns_activity").await.unwrap();
    let kinds: Vec<_> = answer.schema.fields().iter().map(|field| field.data_type().clone()).collect();
    assert_eq!(
        (&kinds[0], &kinds[1], &kinds[4], &kinds[5]),
        (&DataType::Binary, &DataType::Utf8, &DataType::Date32, &DataType::Utf8)
    );
    let schema = answer.schema.clone();
    for batch in answer.stream.try_collect::<Vec<_>>().await.unwrap() {
        assert_eq!(batch.schema(), schema);
    }
}
