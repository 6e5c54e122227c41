//! The built-in pack: what it must find, and what it must leave alone.

use std::collections::BTreeMap;

use super::*;

fn pack() -> Detector {
    let wide = Limits { groups_per_rule: 100_000, ..limits() };
    Detector::new(compiled(&crate::built_in_rules()), wide)
}

/// Titles of the incidents in some events, with the sentence of the first of each.
fn found(class: Class, events: &[Value]) -> BTreeMap<String, String> {
    let alerts = play(&mut pack(), &[batch(class, events)]);
    let mut titles = BTreeMap::new();
    opened(&alerts).iter().for_each(|alert| {
        titles.entry(alert.title.clone()).or_insert_with(|| alert.message.clone());
    });
    titles
}

fn check(class: Class, events: &[Value], expected: &[(&str, &str)]) {
    let found = found(class, events);
    let found: Vec<_> = found.iter().map(|(title, message)| (title.as_str(), message.as_str())).collect();
    assert_eq!(found, expected);
}

fn flow(millis: i64, src_ip: &str, src_port: i64, dst_ip: &str, dst_port: i64, status_id: i32) -> Value {
    json!({"time": millis * 1_000, "src_ip": src_ip, "src_port": src_port, "dst_ip": dst_ip, "dst_port": dst_port,
        "status_id": status_id})
}

#[test]
fn every_rule_says_what_people_need() {
    for rule in &compiled(&crate::built_in_rules()).set.rules {
        assert!(!rule.description.is_empty() && rule.author == "Atalaya", "{}", rule.title);
        if rule.alerts {
            let complete = rule.message.is_some() && !rule.falsepositives.is_empty() && !rule.attack_ids.is_empty();
            assert!(complete, "{}", rule.title);
        }
    }
}

#[test]
fn port_scans() {
    let scan: Vec<Value> = (0..40).map(|n| flow(n * 1_000, "203.0.113.7", 40_000, "10.0.0.5", 1 + n * 7, 2)).collect();
    let sentence = "203.0.113.7 tried 40 ports of 10.0.0.5 within 5 minutes";
    check(Class::NetworkActivity, &scan, &[("Port scan", sentence)]);
    let slow: Vec<Value> = (0..40).map(|n| flow(n * 20_000, "203.0.113.7", 40_000, "10.0.0.5", 1 + n, 2)).collect();
    check(Class::NetworkActivity, &slow, &[]);
    let answers: Vec<Value> = (0..400).map(|n| flow(n * 100, "10.0.0.53", 53, "10.0.0.5", 30_000 + n, 1)).collect();
    check(Class::NetworkActivity, &answers, &[]);
}

#[test]
fn host_scans() {
    let scan = |status| -> Vec<Value> {
        (0..60).map(|n| flow(n * 1_000, "10.0.0.66", 50_000 + n, &format!("10.1.0.{n}"), 445, status)).collect()
    };
    let sentence = "10.0.0.66 tried port 445 of 60 hosts within 5 minutes, and none of them answered";
    check(Class::NetworkActivity, &scan(2), &[("Host scan", sentence)]);
    check(Class::NetworkActivity, &scan(1), &[]);
}

#[test]
fn floods() {
    let flood = |status| -> Vec<Value> {
        let source = |n: i64| format!("192.0.2.{}", n % 250);
        (0..6_000).map(|n| flow(n * 5, &source(n), 40_000, "10.0.0.80", 443, status)).collect()
    };
    let [(title, sentence)] =
        found(Class::NetworkActivity, &flood(2)).into_iter().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(title, "Flood of connections");
    assert!(sentence.starts_with("10.0.0.80 is flooded on port 443: "), "{sentence}");
    check(Class::NetworkActivity, &flood(1), &[]);
}

#[test]
fn dns_tunnels() {
    let query = |second: i64, query: String, domain: &str| json!({"time": second * SECOND_US, "src_ip": "10.0.0.9", "query": query, "query_domain": domain});
    let carried = "mfrggzdfmztwq2lknnwg23tpobyxe43uov3ho6dzpiqxs2lm";
    let tunnel: Vec<Value> =
        (0..150).map(|n| query(n, format!("{carried}{n:04}.t.exfil.example"), "exfil.example")).collect();
    let sentence =
        "10.0.0.9 asked for 150 different long names of exfil.example within 10 minutes: data may be leaving by DNS";
    check(Class::DnsActivity, &tunnel, &[("DNS tunnel", sentence)]);
    let short: Vec<Value> = (0..500).map(|n| query(n, format!("host{n}.example.net"), "example.net")).collect();
    check(Class::DnsActivity, &short, &[]);
    let repeated: Vec<Value> =
        (0..500).map(|n| query(n, format!("{carried}{}.cdn.example", n % 9), "cdn.example")).collect();
    check(Class::DnsActivity, &repeated, &[]);
    let zeroes = "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0";
    let reverse: Vec<Value> = (0..300).map(|n| query(n, format!("{n}.{zeroes}.ip6.arpa"), "ip6.arpa")).collect();
    check(Class::DnsActivity, &reverse, &[]);
}

#[test]
fn guessed_passwords() {
    let spray: Vec<Value> = (0..60).map(|n| login(n * 8, "203.0.113.99", &format!("user{}", n % 20), 2)).collect();
    let sentence = "203.0.113.99 failed to log in as 20 different users within 10 minutes";
    check(Class::Authentication, &spray, &[("Password spray", sentence)]);
    let guessing: Vec<Value> = (0..40).map(|n| login(n * 5, "203.0.113.99", "root", 2)).collect();
    let sentence = "203.0.113.99 failed 40 times to log in as root within 10 minutes";
    check(Class::Authentication, &guessing, &[("Password guessing", sentence)]);
    let unknown =
        |n: i64| json!({"time": n * 30 * SECOND_US, "src_ip": "203.0.113.99", "dst_ip": "10.0.0.22", "status_id": 2});
    let sentence = "203.0.113.99 failed 40 times to log in to 10.0.0.22 within 30 minutes";
    let encrypted: Vec<Value> = (0..40).map(unknown).collect();
    check(Class::Authentication, &encrypted, &[("Password guessing on one host", sentence)]);
    let mistyped: Vec<Value> = (0..400)
        .map(|n| login(n, &format!("10.0.0.{}", n % 40), &format!("user{}", n % 40), 1 + i32::from(n % 30 == 0)))
        .collect();
    check(Class::Authentication, &mistyped, &[]);
}

fn request(second: i64, uri: &str) -> Value {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    json!({"time": second * SECOND_US, "src_ip": "198.51.100.23", "http_host": "shop.example", "path": path,
        "query_string": query, "method": "GET"})
}

#[test]
fn sql_injection() {
    let payloads = [
        "/p?id=17%27%20OR%20%271%27%3D%271",
        "/p?id=17%20UNION%20SELECT%20username%2Cpassword%20FROM%20users--",
        "/p?id=17%27%3B%20DROP%20TABLE%20orders--",
        "/p?id=17%20AND%20SLEEP%285%29",
        "/s?q=' union all select null,null,@@version-- -",
        "/p?id=-1+UNION/**/SELECT+table_name+FROM+information_schema.tables",
        "/p/1'%20or%20'a'='a",
        "/p?id=1%20and%201=1",
        "/p?id=1;waitfor delay '0:0:5'--",
    ];
    for payload in payloads {
        assert_eq!(found(Class::HttpActivity, &[request(0, payload)]).len(), 1, "{payload}");
    }
    let run: Vec<Value> = (0..30).map(|n| request(n, payloads[n as usize % payloads.len()])).collect();
    let first = "198.51.100.23 sent SQL to shop.example in a request for /p";
    let sentence = "198.51.100.23 sent 30 requests with SQL in them within 5 minutes";
    check(Class::HttpActivity, &run, &[("SQL injection in a request", first), ("SQL injection run", sentence)]);
    for harmless in [
        "/search?q=summer+sale",
        "/products?id=23&color=blue",
        "/news?title=Union+selects+new+leader",
        "/p?name=O%27Connor&order=by+date",
        "/q?text=select+a+gift+from+our+shop%21",
        "/x?a=1+or+2+persons",
        "/docs/how-to-drop-tables.html?ref=a%3Bb",
    ] {
        check(Class::HttpActivity, &[request(0, harmless)], &[]);
    }
}

/// Real background: the first file holds no attack of the pack's kinds; the second an intruder who works by hand.
#[test]
fn real_networks_are_left_alone() {
    for (file, class, log) in [
        ("zeek/dns.json.gz", Class::DnsActivity, "dns"),
        ("zeek-apt29/dns.log", Class::DnsActivity, "dns"),
        ("zeek-apt29/conn.log", Class::NetworkActivity, "conn"),
        ("zeek-apt29/conn-nashua.log", Class::NetworkActivity, "conn"),
        ("zeek-apt29/http.log", Class::HttpActivity, "http"),
    ] {
        let alerts = play(&mut pack(), &zeek(class, log, &shared_lines(file), 1_000));
        let found: Vec<_> = opened(&alerts).iter().map(|alert| alert.message.clone()).collect();
        assert_eq!(found, Vec::<String>::new(), "{file}");
    }
}

/// The labelled parameters, as a browser would send them.
#[test]
fn labelled_parameters() {
    let compiled = compiled(&crate::built_in_rules());
    let rule = compiled.set.rules.iter().position(|rule| rule.name.as_deref() == Some("sql_injection")).unwrap();
    let parameters: Vec<_> =
        shared_lines("web/http_params.csv").iter().skip(1).filter_map(|line| parameter(line)).collect();
    let mut totals: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for parameters in parameters.chunks(1_000) {
        let encoded = |payload: &str| payload.bytes().map(encode).collect::<String>();
        let events = parameters.iter().map(|(payload, _)| request(0, &format!("/p?q={}", encoded(payload))));
        let matches = compiled.engine.matches(&batch(Class::HttpActivity, &events.collect::<Vec<_>>()));
        let rows = matches.iter().find(|(index, _)| *index == rule).map(|(_, rows)| rows);
        for (row, (payload, kind)) in parameters.iter().enumerate() {
            let hit = rows.is_some_and(|rows| rows.get(row));
            let total = totals.entry(kind).or_default();
            *total = (total.0 + usize::from(hit), total.1 + 1);
            assert!(kind != "norm" || !hit, "{payload}");
        }
    }
    println!("{totals:?}");
    let rate = |kind: &str| totals[kind].0 as f64 / totals[kind].1 as f64;
    assert!(rate("sqli") > 0.97, "{totals:?}");
}

fn parameter(line: &str) -> Option<(String, String)> {
    let inner = line.strip_prefix('"')?.strip_suffix('"')?;
    let mut parts = inner.rsplitn(4, "\",\"");
    let (_, kind, _, payload) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some((payload.replace("\"\"", "\""), kind.to_owned()))
}

fn encode(byte: u8) -> String {
    match byte {
        b' ' => "+".to_owned(),
        b if b.is_ascii_alphanumeric() || b"-_.~*".contains(&b) => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    }
}
