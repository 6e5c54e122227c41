//! Takes every source in, spools it durably and writes RAW.
