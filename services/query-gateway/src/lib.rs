//! The one door for readers: lookups, SQL, alerts and status.
