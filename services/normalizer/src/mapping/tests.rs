use super::*;

const KIND: &str = "format: json\nrevision: 1\ntime: {fields: [ts], required: true}\n";

fn reason(kind: &str, log: &str) -> String {
    Mappings::read(&[("k", KIND_FILE, kind), ("k", "log.yaml", log)]).unwrap_err().to_string()
}

#[test]
fn the_built_in_mappings_are_right() {
    let mappings = Mappings::built_in().unwrap();
    let zeek = mappings.kind("zeek").unwrap();
    for log in ["dns", "conn", "http", "ssl", "ssh", "kerberos", "ntlm", "weird"] {
        assert!(zeek.knows(log), "{log}");
    }
    assert!(zeek.plan("a log of tomorrow").is_some());
    assert!(mappings.kind("json_lines").is_some() && mappings.kind("ocsf").is_some());
}

#[test]
fn wrong_mappings_name_file_and_field() {
    for (log, part) in [
        ("{logs: [a], class: nothing}", "no class 'nothing'"),
        ("{logs: [a], class: dns_activity, fields: {q: nowhere}}", "field 'q': no column 'nowhere'"),
        ("{logs: [a], class: dns_activity, fields: {q: query port}}", "field 'q'"),
        ("{logs: [a], class: dns_activity, fields: {q: query shout}}", "no conversion 'shout'"),
        ("{logs: [a], class: dns_activity, fields: {q: unless r}}", "no field 'r'"),
        ("{logs: [a], class: dns_activity, fields: {q: rcode table t}}", "no table 't'"),
        ("{logs: [a], class: dns_activity, fields: {t: tenant}}", "no column 'tenant'"),
        ("{logs: [a], class: dns_activity, set: {src_port: x}}", "does not fit 'src_port'"),
        ("{logs: [a], class: dns_activity, unknown: 1}", "unknown"),
        ("{logs: [a, a], class: dns_activity}", "log 'a' has a file already"),
    ] {
        let reason = reason(KIND, log);
        assert!(reason.starts_with("mappings/k/log.yaml: ") && reason.contains(part), "{log}: {reason}");
    }
}
