//! Happenings as Zeek writes them: DNS and connections as TSV, requests and logins as JSON.

use std::fmt::Write;

use serde_json::json;

use super::day::{Happening, What};

/// The DNS log's header.
pub(super) const DNS_HEADER: &str = "#separator \\x09
#set_separator\t,
#empty_field\t(empty)
#unset_field\t-
#path\tdns
#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\ttrans_id\trtt\tquery\tqclass\tqclass_name\tqtype\tqtype_name\trcode\trcode_name\tAA\tTC\tRD\tRA\tZ\tanswers\tTTLs\trejected
#types\ttime\tstring\taddr\tport\taddr\tport\tenum\tcount\tinterval\tstring\tcount\tstring\tcount\tstring\tcount\tstring\tbool\tbool\tbool\tbool\tcount\tvector[string]\tvector[interval]\tbool
";

/// The connection log's header.
pub(super) const CONN_HEADER: &str = "#separator \\x09
#set_separator\t,
#empty_field\t(empty)
#unset_field\t-
#path\tconn
#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\torig_bytes\tresp_bytes\tconn_state\tmissed_bytes\thistory\torig_pkts\torig_ip_bytes\tresp_pkts\tresp_ip_bytes
#types\ttime\tstring\taddr\tport\taddr\tport\tenum\tstring\tinterval\tcount\tcount\tstring\tcount\tstring\tcount\tcount\tcount\tcount
";

/// A day's log by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Log {
    Dns,
    Conn,
    Http,
    Ntlm,
}

const RESOLVER: &str = "10.20.0.53";
const WEB_SERVER: &str = "10.20.0.80";
const DOMAIN_CONTROLLER: &str = "10.20.0.10";

/// The line (with its end) that Zeek writes for the `number`-th happening of a day that began at `day_us`.
pub(super) fn line(happening: &Happening, number: usize, day_us: i64) -> (Log, String) {
    let time_us = day_us + happening.at_us;
    let (ts, uid) = (format!("{}.{:06}", time_us / 1_000_000, time_us % 1_000_000), format!("D{number:017}"));
    match &happening.what {
        What::Flow { source, source_port, target, target_port, state, bytes } => {
            let answered = *state != "S0";
            let (packets, replies) = (1 + bytes.0 / 1_200, if answered { 1 + bytes.1 / 1_200 } else { 0 });
            let mut line = format!("{ts}\t{uid}\t{source}\t{source_port}\t{target}\t{target_port}\ttcp\t-\t");
            let _ = if answered { write!(line, "0.125000\t{}\t{}", bytes.0, bytes.1) } else { write!(line, "-\t-\t-") };
            let history = if answered { "ShADadFf" } else { "S" };
            let ip_bytes = (bytes.0 + 40 * packets, bytes.1 + 40 * replies);
            let _ = writeln!(
                line,
                "\t{state}\t0\t{history}\t{packets}\t{}\t{replies}\t{}",
                ip_bytes.0,
                if answered { ip_bytes.1 } else { 0 }
            );
            (Log::Conn, line)
        }
        What::Dns { source, query, query_type, found } => (Log::Dns, dns(&ts, &uid, source, query, query_type, *found)),
        What::Http { source, method, uri, user_agent, status } => {
            let record = json!({
                "ts": seconds(time_us), "uid": uid, "id.orig_h": source, "id.orig_p": 40_000 + number % 20_000,
                "id.resp_h": WEB_SERVER, "id.resp_p": 80, "trans_depth": 1, "method": method,
                "host": "www.acme.example", "uri": uri, "version": "1.1", "user_agent": user_agent,
                "request_body_len": 0, "response_body_len": 5_120, "status_code": status, "tags": [],
            });
            (Log::Http, format!("{record}\n"))
        }
        What::Login { source, user, success } => {
            let record = json!({
                "_path": "ntlm", "ts": seconds(time_us), "uid": uid, "id.orig_h": source,
                "id.orig_p": 40_000 + number % 20_000, "id.resp_h": DOMAIN_CONTROLLER, "id.resp_p": 445,
                "username": user, "domainname": "ACME", "success": success,
            });
            (Log::Ntlm, format!("{record}\n"))
        }
    }
}

/// Seconds since 1970 as JSON carries them; a double holds microseconds of this century exactly enough to round back.
#[allow(clippy::cast_precision_loss, reason = "53 bits hold microseconds until the year 2255")]
fn seconds(time_us: i64) -> f64 {
    time_us as f64 / 1_000_000.0
}

fn dns(ts: &str, uid: &str, source: &str, query: &str, query_type: &str, found: bool) -> String {
    let number = match query_type {
        "A" => 1,
        "TXT" => 16,
        _ => 28,
    };
    let (rcode, rcode_name) = if found { (0, "NOERROR") } else { (3, "NXDOMAIN") };
    let (answers, ttls) = match (found, query_type) {
        (false, _) => ("-", "-"),
        (true, "A") => ("198.18.3.4", "300.000000"),
        (true, "TXT") => ("TXT 4 okay", "1.000000"),
        (true, _) => ("2001:db8::34", "300.000000"),
    };
    format!(
        "{ts}\t{uid}\t{source}\t53123\t{RESOLVER}\t53\tudp\t4711\t0.012000\t{query}\t1\tC_INTERNET\t{number}\t\
         {query_type}\t{rcode}\t{rcode_name}\tF\tF\tT\tT\t0\t{answers}\t{ttls}\tF\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::day::day;

    #[test]
    fn lines_have_the_fields_of_their_header() {
        let columns =
            |header: &str| header.lines().find(|line| line.starts_with("#fields")).unwrap().split('\t').count() - 1;
        for (number, happening) in day(1).iter().enumerate().step_by(97) {
            let (log, line) = line(happening, number, 1_700_000_000_000_000);
            match log {
                Log::Dns => assert_eq!(line.split('\t').count(), columns(DNS_HEADER), "{line}"),
                Log::Conn => assert_eq!(line.split('\t').count(), columns(CONN_HEADER), "{line}"),
                Log::Http | Log::Ntlm => assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{line}"),
            }
        }
    }
}
