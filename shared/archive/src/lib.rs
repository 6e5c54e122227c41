//! The Delta archive: layout, exactly-once append, snapshots.
