//! The body of an EVT message: the runs are the rows', and what is written again reads the same.

#![no_main]

use atalaya_schema::{EventBatch, read_runs};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(batch) = EventBatch::decode(body) else { return };
    let rows: u64 = batch.runs.iter().map(|run| u64::from(run.rows)).sum();
    assert_eq!(rows, batch.rows.num_rows() as u64);
    assert_eq!(read_runs(body).expect("a body that decodes has runs"), batch.runs);
    let again = EventBatch::decode(&batch.encode()).expect("what was encoded decodes");
    assert_eq!(again.runs, batch.runs);
});
