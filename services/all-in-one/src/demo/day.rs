//! The day as data: what happens when.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{attacks, background};

/// Length of the day in microseconds.
pub const DAY_US: i64 = 24 * 3_600 * 1_000_000;

/// Something that happens, at microseconds since the day began.
#[derive(Clone, Debug, PartialEq)]
pub struct Happening {
    /// When, microseconds since the day began.
    pub at_us: i64,
    /// What.
    pub what: What,
}

/// What a sensor sees.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A connection.
    Flow {
        /// Who began it.
        source: String,
        /// Port there.
        source_port: u16,
        /// Who was called.
        target: String,
        /// Port there.
        target_port: u16,
        /// Zeek's connection state: SF, S0, REJ.
        state: &'static str,
        /// Bytes sent and received.
        bytes: (u64, u64),
    },
    /// A DNS query with its answer.
    Dns {
        /// Who asked.
        source: String,
        /// Name asked for.
        query: String,
        /// A, AAAA, TXT.
        query_type: &'static str,
        /// Whether the name is there.
        found: bool,
    },
    /// A web request.
    Http {
        /// Who asked.
        source: String,
        /// Method.
        method: &'static str,
        /// Path and query as in the request line.
        uri: String,
        /// User agent.
        user_agent: &'static str,
        /// Status code.
        status: u16,
    },
    /// A login to the domain controller.
    Login {
        /// From where.
        source: String,
        /// Who.
        user: String,
        /// Whether it was the right password.
        success: bool,
    },
}

/// The attacks of the day, each by an address of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attack {
    /// Many ports of one host.
    PortScan,
    /// Data carried out in DNS names.
    DnsTunnel,
    /// SQL in a web form's parameter.
    SqlInjection,
    /// A few passwords against many users.
    PasswordSpray,
    /// Connections by the thousand at one host.
    Flood,
}

impl Attack {
    /// Every attack.
    pub const ALL: [Self; 5] = [Self::PortScan, Self::DnsTunnel, Self::SqlInjection, Self::PasswordSpray, Self::Flood];

    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PortScan => "port scan",
            Self::DnsTunnel => "DNS tunnel",
            Self::SqlInjection => "SQL injection",
            Self::PasswordSpray => "password spray",
            Self::Flood => "flood",
        }
    }

    /// The address that gives it away: the attacker's, or the target's where there are many attackers.
    #[must_use]
    pub const fn address(self) -> &'static str {
        match self {
            Self::PortScan => attacks::SCANNER,
            Self::DnsTunnel => attacks::TUNNEL_CLIENT,
            Self::SqlInjection => attacks::INJECTOR,
            Self::PasswordSpray => attacks::SPRAYER,
            Self::Flood => attacks::FLOOD_TARGET,
        }
    }
}

/// The whole day in order of time.
#[must_use]
pub fn day(seed: u64) -> Vec<Happening> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut day = background::background(&mut random);
    for attack in Attack::ALL {
        day.extend(attacks::attack(attack, &mut random));
    }
    day.sort_by_key(|happening| happening.at_us);
    day
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_is_the_same_day() {
        let found = day(7);
        assert_eq!(found, day(7));
        assert_ne!(found, day(8));
        assert!(found.iter().all(|happening| (0..DAY_US).contains(&happening.at_us)));
        assert!(found.is_sorted_by_key(|happening| happening.at_us));
        assert!((30_000..120_000).contains(&found.len()), "{} happenings", found.len());
    }
}
