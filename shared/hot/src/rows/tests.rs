use atalaya_schema::{ColumnType, Rows, row_json};
use proptest::prelude::*;

use super::*;

/// A value for every column that `picked` names, made from `seed`.
fn fill(rows: &mut Rows, class: Class, picked: &[bool], seed: u64) {
    let (small, text) = (i32::try_from(seed % 1_000).unwrap(), format!("text {seed}"));
    let wide = seed.cast_signed();
    rows.begin();
    rows.text(col::TENANT, "acme");
    rows.int32(col::CLASS_UID, class.uid());
    for (index, column) in columns(class).iter().enumerate().filter(|(index, _)| picked[index % picked.len()]) {
        match column.kind {
            ColumnType::Text | ColumnType::Keyword => rows.text(index, &text),
            ColumnType::Int32 => rows.int32(index, -small),
            ColumnType::Int64 => rows.int64(index, wide),
            ColumnType::Float64 => rows.float64(index, f64::from(small) / 7.0),
            ColumnType::Bool => rows.bool(index, seed.is_multiple_of(2)),
            ColumnType::Time => rows.time(index, wide >> 12),
            ColumnType::Id => rows.id(index, &[seed.to_le_bytes()[0]; 16]),
            ColumnType::TextList => rows.texts(index, [text.as_str(), "", "é"].into_iter()),
            ColumnType::Int64List => rows.int64s(index, [wide, 0, -1].into_iter()),
            ColumnType::IdList => rows.ids(index, [[1; 16], [2; 16]].iter()),
            ColumnType::TextMap => rows.unmapped("key", &text),
        }
    }
    rows.end();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn rows_read_back(
        class in prop::sample::select(Class::ALL.to_vec()), picked in prop::collection::vec(any::<bool>(), 1..12),
        seeds in prop::collection::vec(any::<u64>(), 1..6), named: bool,
    ) {
        let mut rows = Rows::new(class);
        seeds.iter().for_each(|seed| fill(&mut rows, class, &picked, *seed));
        let batch = rows.finish();
        let heading = if named { Heading::Names } else { Heading::Bitmap };
        let mut encoder = RowEncoder::new(class, &batch, heading);
        let mut decoder = RowDecoder::new(class);
        let all: Vec<u32> = (0..u32::try_from(seeds.len()).unwrap()).rev().collect();
        for part in all.chunks(2) {
            let mut block = Vec::new();
            encoder.encode(part, &mut block);
            decoder.read("acme", &block).unwrap();
            for length in 0..block.len() {
                prop_assert!(RowDecoder::new(class).read("acme", &block[..length]).is_err());
            }
        }
        let read = decoder.finish();
        prop_assert_eq!(read.num_rows(), seeds.len());
        for (at, row) in all.iter().enumerate() {
            prop_assert_eq!(row_json(&read, at), row_json(&batch, *row as usize));
        }
    }

    #[test]
    fn damaged_rows_are_errors(block in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = RowDecoder::new(Class::DnsActivity);
        let _ = decoder.read("acme", &block);
        decoder.finish();
    }
}

#[test]
fn another_layout_is_told_apart() {
    let mut rows = Rows::new(Class::DnsActivity);
    fill(&mut rows, Class::DnsActivity, &[true], 7);
    let batch = rows.finish();
    let mut block = Vec::new();
    RowEncoder::new(Class::DnsActivity, &batch, Heading::Bitmap).encode(&[0], &mut block);
    assert_eq!(RowDecoder::new(Class::HttpActivity).read("acme", &block), Err(RowsError::Layout));
}
