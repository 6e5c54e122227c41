//! The hot store port: segments, postings and row tables; its embedded adapter.
