//! An ordinary day: people look names up, read pages, log in, and mistype a password now and then.

use rand::Rng;
use rand::rngs::StdRng;

use super::day::{DAY_US, Happening, What};

const WORKSTATIONS: u32 = 120;
const DNS_QUERIES: u32 = 16_000;
const FLOWS: u32 = 9_000;
const PAGES: u32 = 6_000;
const LOGINS: u32 = 1_500;

/// One login in so many has a mistyped password.
const MISTYPED: u32 = 30;

/// Relative load of each hour.
const HOURS: [u32; 24] = [1, 1, 1, 1, 1, 2, 4, 8, 12, 14, 14, 13, 10, 12, 14, 13, 12, 9, 6, 4, 3, 2, 2, 1];

const SITES: [&str; 16] = [
    "www.weather.example",
    "cdn.news.example",
    "mail.office.example",
    "static.shop.example",
    "api.maps.example",
    "login.office.example",
    "img.shop.example",
    "feeds.news.example",
    "update.vendor.example",
    "ntp.pool.example",
    "video.stream.example",
    "chat.office.example",
    "docs.office.example",
    "ads.market.example",
    "search.example",
    "packages.distro.example",
];

const PATHS: [&str; 10] = [
    "/",
    "/products",
    "/products?id=17",
    "/products?id=23&color=blue",
    "/about",
    "/contact",
    "/img/logo.png",
    "/style.css",
    "/search?q=summer+sale",
    "/news?page=2",
];

const BROWSERS: [&str; 3] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/127.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
];

/// The address of a workstation.
fn workstation(random: &mut StdRng) -> (u32, String) {
    let number = random.random_range(0..WORKSTATIONS);
    (number, format!("10.20.{}.{}", 1 + number / 60, 10 + number % 60))
}

/// A moment, more likely when people are at work.
fn moment(random: &mut StdRng) -> i64 {
    let total: u32 = HOURS.iter().sum();
    let mut left = random.random_range(0..total);
    let hour = HOURS.iter().position(|&weight| {
        let here = left < weight;
        left = left.saturating_sub(weight);
        here
    });
    let hour = i64::try_from(hour.unwrap_or_default()).unwrap_or_default();
    hour * DAY_US / 24 + random.random_range(0..DAY_US / 24)
}

fn pick<T: Copy>(random: &mut StdRng, from: &[T]) -> T {
    from[random.random_range(0..from.len())]
}

/// Makes one happening.
type Maker = fn(&mut StdRng) -> What;

/// Everything ordinary.
pub(super) fn background(random: &mut StdRng) -> Vec<Happening> {
    let makers: [(u32, Maker); 4] = [(DNS_QUERIES, dns), (FLOWS, flow), (PAGES, page), (LOGINS, login)];
    let mut happenings = Vec::new();
    for (count, make) in makers {
        happenings.extend((0..count).map(|_| Happening { at_us: moment(random), what: make(random) }));
    }
    happenings
}

fn dns(random: &mut StdRng) -> What {
    let found = random.random_range(0..40) != 0;
    let site = pick(random, &SITES);
    let query = if found { site.to_owned() } else { format!("ww.{site}") };
    let query_type = pick(random, &["A", "A", "A", "AAAA"]);
    What::Dns { source: workstation(random).1, query, query_type, found }
}

fn flow(random: &mut StdRng) -> What {
    What::Flow {
        source: workstation(random).1,
        source_port: random.random_range(32_768..61_000),
        target: format!("198.18.{}.{}", random.random_range(0..8), random.random_range(1..255)),
        target_port: pick(random, &[443, 443, 443, 443, 80, 123, 993]),
        state: pick(random, &["SF", "SF", "SF", "SF", "S1", "RSTO"]),
        bytes: (random.random_range(200..8_000), random.random_range(500..200_000)),
    }
}

fn page(random: &mut StdRng) -> What {
    let source = format!("198.18.{}.{}", random.random_range(10..60), random.random_range(1..255));
    What::Http {
        source,
        method: "GET",
        uri: pick(random, &PATHS).to_owned(),
        user_agent: pick(random, &BROWSERS),
        status: pick(random, &[200, 200, 200, 200, 200, 304, 404]),
    }
}

fn login(random: &mut StdRng) -> What {
    let (number, source) = workstation(random);
    What::Login { source, user: format!("user{number:03}"), success: random.random_range(0..MISTYPED) != 0 }
}
