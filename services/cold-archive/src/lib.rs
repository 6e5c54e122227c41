//! Appends events and alerts to the Delta archive, exactly once.
