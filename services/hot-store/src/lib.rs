//! Files events and alerts in the hot store.
