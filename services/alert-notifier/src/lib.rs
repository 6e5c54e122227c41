//! Groups alerts and delivers them to each tenant's receivers.
