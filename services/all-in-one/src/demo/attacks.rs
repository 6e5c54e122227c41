//! The five attacks, each at its hour.

use rand::Rng;
use rand::rngs::StdRng;

use super::day::{Attack, DAY_US, Happening, What};

pub(super) const SCANNER: &str = "203.0.113.7";
pub(super) const TUNNEL_CLIENT: &str = "10.20.2.17";
pub(super) const INJECTOR: &str = "198.51.100.23";
pub(super) const SPRAYER: &str = "203.0.113.99";
pub(super) const FLOOD_TARGET: &str = "10.20.0.80";

const SCAN_TARGET: &str = "10.20.0.25";
const TUNNEL_DOMAIN: &str = "exfil-node.example";

const SECOND_US: i64 = 1_000_000;
const MINUTE_US: i64 = 60 * SECOND_US;

const SCANNED_PORTS: u16 = 400;
const TUNNEL_QUERIES: u32 = 1_200;
const INJECTIONS: u32 = 90;
const SPRAYED_USERS: u32 = 60;
const FLOOD_FLOWS: u32 = 24_000;
const FLOOD_SOURCES: u32 = 3_000;

const PAYLOADS: [&str; 6] = [
    "/products?id=17%27%20OR%20%271%27%3D%271",
    "/products?id=17%20UNION%20SELECT%20username%2Cpassword%20FROM%20users--",
    "/products?id=17%27%3B%20DROP%20TABLE%20orders--",
    "/products?id=17%20AND%20SLEEP%285%29",
    "/search?q=%27%20UNION%20ALL%20SELECT%20NULL%2CNULL%2C%40%40version--%20-",
    "/products?id=-1%20UNION%20SELECT%20table_name%20FROM%20information_schema.tables",
];

fn at(hour: i64, minute: i64) -> i64 {
    hour * DAY_US / 24 + minute * MINUTE_US
}

/// `count` moments spread over `span_us` from `begin_us`, each shaken a little.
fn spread(random: &mut StdRng, begin_us: i64, span_us: i64, count: u32) -> Vec<i64> {
    let step = (span_us / i64::from(count)).max(1);
    (0..i64::from(count)).map(|number| begin_us + number * step + random.random_range(0..step)).collect()
}

/// Everything of one attack.
pub(super) fn attack(attack: Attack, random: &mut StdRng) -> Vec<Happening> {
    let (begin_us, span_us, count) = match attack {
        Attack::PortScan => (at(2, 41), 3 * MINUTE_US, u32::from(SCANNED_PORTS)),
        Attack::DnsTunnel => (at(9, 12), 20 * MINUTE_US, TUNNEL_QUERIES),
        Attack::SqlInjection => (at(13, 5), 6 * MINUTE_US, INJECTIONS),
        Attack::PasswordSpray => (at(17, 33), 8 * MINUTE_US, 2 * SPRAYED_USERS),
        Attack::Flood => (at(21, 50), 2 * MINUTE_US, FLOOD_FLOWS),
    };
    let moments = spread(random, begin_us, span_us, count);
    let numbered = moments.into_iter().zip(0..);
    numbered.map(|(at_us, number)| Happening { at_us, what: step(attack, number, random) }).collect()
}

fn step(attack: Attack, number: u32, random: &mut StdRng) -> What {
    match attack {
        Attack::PortScan => probe(SCANNER.to_owned(), SCAN_TARGET, port(number), random),
        Attack::Flood => {
            let bot = random.random_range(0..FLOOD_SOURCES);
            probe(format!("192.0.{}.{}", 2 + bot / 250, 1 + bot % 250), FLOOD_TARGET, 443, random)
        }
        Attack::DnsTunnel => What::Dns {
            source: TUNNEL_CLIENT.to_owned(),
            query: format!("{}.{number:04x}.{TUNNEL_DOMAIN}", carried(random)),
            query_type: "TXT",
            found: true,
        },
        Attack::SqlInjection => What::Http {
            source: INJECTOR.to_owned(),
            method: "GET",
            uri: PAYLOADS[number as usize % PAYLOADS.len()].to_owned(),
            user_agent: "sqlmap/1.8 (https://sqlmap.org)",
            status: if number.is_multiple_of(7) { 200 } else { 500 },
        },
        Attack::PasswordSpray => What::Login {
            source: SPRAYER.to_owned(),
            user: format!("user{:03}", number % SPRAYED_USERS),
            success: false,
        },
    }
}

fn port(number: u32) -> u16 {
    u16::try_from(1 + number * 7 % 10_000).unwrap_or(1)
}

/// A connection that nobody answers.
fn probe(source: String, target: &str, target_port: u16, random: &mut StdRng) -> What {
    let source_port = random.random_range(32_768..61_000);
    What::Flow { source, source_port, target: target.to_owned(), target_port, state: "S0", bytes: (0, 0) }
}

/// 48 characters as base 32 carries them.
fn carried(random: &mut StdRng) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    (0..48).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect()
}
