//! Alerts on a real log: listed, acted on, looked up.

use crate::atalaya::Atalaya;

/// A scan that the built-in pack knows: 200 ports of one host within a minute.
fn scan() -> String {
    let line = |port: u32| {
        format!(
            "{{\"_path\":\"conn\",\"ts\":{}.25,\"uid\":\"S{port}\",\"id.orig_h\":\"203.0.113.5\",\"id.orig_p\":40000,\"id.resp_h\":\"10.1.1.1\",\"id.resp_p\":{port},\"proto\":\"tcp\",\"conn_state\":\"S0\"}}\n",
            1_700_000_000 + port / 4
        )
    };
    (1..=200).map(line).collect()
}

#[test]
fn an_alert_is_listed_and_acted_on() {
    let atalaya = Atalaya::new();
    let path = atalaya.path("conn.log");
    std::fs::write(&path, scan()).unwrap();
    let report = atalaya.replay(&[path.to_str().unwrap()]);
    assert!(report["alerts"].as_u64().unwrap() >= 1, "{report:?}");
    let alerts = atalaya.rows(&["alerts", "--format", "json"]);
    let alert = alerts.iter().find(|alert| alert["group_key"].as_str().unwrap().contains("203.0.113.5")).unwrap();
    let id = alert["alert_id"].as_str().unwrap();
    atalaya.output(&["alerts", "act", id, "--verdict", "true_positive"]);
    let found = atalaya.rows(&["lookup", "alert", id, "--format", "json"]);
    assert_eq!(found.len(), 1);
    let again = atalaya.rows(&["alerts", "--format", "json"]);
    let judged = again.iter().find(|alert| alert["alert_id"] == id).unwrap();
    assert_eq!(judged["verdict"], "true_positive");
    let other = atalaya.run(&["alerts", "act", id, "--close", "--tenant", "globex"]);
    assert_eq!(other.status.code(), Some(1));
}
