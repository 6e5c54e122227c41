//! The parts of the streams that are filed on their own: each has its lease, its floor and its reader.

use std::fmt;

use atalaya_bus::{Filter, Stream, SubjectError};

/// This reader's name in bucket `floors` and in leases.
pub(crate) const READER: &str = "hot";

/// A part of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// The events of a partition.
    Events(u16),
    /// The alerts of a partition.
    Alerts(u16),
    /// What people do to alerts, of every tenant.
    Actions,
}

impl Scope {
    /// Every scope of streams with so many partitions.
    pub(crate) fn all(events: u16, alerts: u16) -> impl Iterator<Item = Self> {
        (0..events).map(Self::Events).chain((0..alerts).map(Self::Alerts)).chain([Self::Actions])
    }

    /// The stream it is part of.
    pub(crate) const fn stream(self) -> Stream {
        match self {
            Self::Events(_) => Stream::Evt,
            Self::Alerts(_) | Self::Actions => Stream::Alert,
        }
    }

    /// Its messages.
    pub(crate) fn filter(self) -> Result<Filter, SubjectError> {
        Filter::new(&match self {
            Self::Events(partition) => format!("evt.{partition}.>"),
            Self::Alerts(partition) => format!("alert.{partition}"),
            Self::Actions => "action.>".to_owned(),
        })
    }

    /// Its name among the reader's floors in the stream.
    pub(crate) fn floor(self) -> String {
        match self {
            Self::Events(partition) | Self::Alerts(partition) => partition.to_string(),
            Self::Actions => "action".to_owned(),
        }
    }
}

/// The name of its lease.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Events(partition) => write!(f, "evt.{partition}.{READER}"),
            Self::Alerts(partition) => write!(f, "alert.{partition}.{READER}"),
            Self::Actions => write!(f, "action.{READER}"),
        }
    }
}
