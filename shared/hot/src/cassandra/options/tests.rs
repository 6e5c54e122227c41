use super::*;

#[test]
fn urls_name_nodes_and_keyspace() {
    let target = Target::parse("cassandra://10.0.0.1:9042,db-2,[::1]:9043,[::1]/atalaya_hot?retention=30d").unwrap();
    assert_eq!(target.nodes, ["10.0.0.1:9042", "db-2:9042", "[::1]:9043", "[::1]:9042"]);
    assert_eq!((target.keyspace.as_str(), target.retention.as_deref()), ("atalaya_hot", Some("30d")));
    for bad in [
        "cassandra:",
        "cassandra://host",
        "cassandra://host/",
        "cassandra:///k",
        "cassandra://host,/k",
        "cassandra://host:x/k",
        "cassandra://host/K",
        "cassandra://host/9k",
        "cassandra://host/k;",
        "cassandra://user@host/k",
        "cassandra://host/k?retention=x",
        "cassandra://host/k?keep=1d",
        &format!("cassandra://host/{}", "k".repeat(49)),
    ] {
        assert!(matches!(Target::parse(bad), Err(HotError::Url(_))), "{bad}");
    }
}

#[test]
fn options_are_read_and_checked() {
    let read = |text: &str| serde_json::from_str::<Options>(text).map_err(|error| error.to_string());
    let options = read(r#"{"retention": null, "consistency": "one", "password": "env:P", "user": "file:/u"}"#).unwrap();
    assert_eq!((options.retention_us(), options.consistency), (Ok(None), Answers::One));
    assert_eq!(options.validate(), Ok(()));
    assert!(read(r#"{"password": "hunter2"}"#).unwrap_err().contains("by reference"));
    assert!(read(r#"{"pasword": "env:P"}"#).unwrap_err().contains("pasword"));
    for (text, wrong) in [
        (r#"{"retention": "5m"}"#, "retention"),
        (r#"{"retention": "20y"}"#, "retention"),
        (r#"{"in_flight_per_node": 0}"#, "in_flight_per_node"),
        (r#"{"page_rows": -1}"#, "page_rows"),
        (r#"{"user": "env:U"}"#, "password"),
        (r#"{"datacenters": {"a'b": 1}}"#, "datacenters"),
        (r#"{"tls": {"ca": "ca.pem", "key": "k.pem"}}"#, "certificate"),
    ] {
        assert!(read(text).unwrap().validate().unwrap_err().contains(wrong), "{text}");
    }
}
