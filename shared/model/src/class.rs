//! The OCSF classes that have a row shape, a subject token and a table of their own.

use serde::{Deserialize, Serialize};

/// An OCSF event class as Atalaya stores it; one table each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// 0: anything without a class of its own; posts carry the osint profile.
    BaseEvent,
    /// 1007: process starts and other host logs.
    ProcessActivity,
    /// 2002: CVE, KEV, EPSS and CSAF entries.
    VulnerabilityFinding,
    /// 2004: alerts.
    DetectionFinding,
    /// 3002: logins.
    Authentication,
    /// 4001: IP flows, connections and TLS handshakes.
    NetworkActivity,
    /// 4002: HTTP requests.
    HttpActivity,
    /// 4003: DNS queries and answers.
    DnsActivity,
    /// 5021: indicators.
    OsintInventoryInfo,
}

impl Class {
    /// Every class, by class_uid.
    pub const ALL: [Self; 9] = [
        Self::BaseEvent,
        Self::ProcessActivity,
        Self::VulnerabilityFinding,
        Self::DetectionFinding,
        Self::Authentication,
        Self::NetworkActivity,
        Self::HttpActivity,
        Self::DnsActivity,
        Self::OsintInventoryInfo,
    ];

    /// The OCSF `class_uid`.
    #[must_use]
    pub const fn uid(self) -> i32 {
        match self {
            Self::BaseEvent => 0,
            Self::ProcessActivity => 1007,
            Self::VulnerabilityFinding => 2002,
            Self::DetectionFinding => 2004,
            Self::Authentication => 3002,
            Self::NetworkActivity => 4001,
            Self::HttpActivity => 4002,
            Self::DnsActivity => 4003,
            Self::OsintInventoryInfo => 5021,
        }
    }

    /// The OCSF `category_uid`: the thousands of the class.
    #[must_use]
    pub const fn category_uid(self) -> i32 {
        self.uid() / 1000
    }

    /// The OCSF name: table in SQL, token in subjects.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BaseEvent => "base_event",
            Self::ProcessActivity => "process_activity",
            Self::VulnerabilityFinding => "vulnerability_finding",
            Self::DetectionFinding => "detection_finding",
            Self::Authentication => "authentication",
            Self::NetworkActivity => "network_activity",
            Self::HttpActivity => "http_activity",
            Self::DnsActivity => "dns_activity",
            Self::OsintInventoryInfo => "osint_inventory_info",
        }
    }

    /// The class with this `class_uid`.
    #[must_use]
    pub fn from_uid(uid: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.uid() == uid)
    }

    /// The class with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }
}
