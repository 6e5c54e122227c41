//! Turns events into alerts by rules and correlations over event time.
