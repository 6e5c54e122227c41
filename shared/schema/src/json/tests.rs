use arrow::array::{Int64Array, StringArray};
use atalaya_model::Class;
use serde_json::json;

use super::*;
use crate::{Rows, col};

#[test]
fn rows_are_json_under_our_names() {
    let mut rows = Rows::new(Class::DnsActivity);
    rows.begin();
    rows.id(col::EVENT_ID, &[0xab; 16]);
    rows.text(col::TENANT, "acme");
    rows.time(col::TIME, 1_521_911_720_865_716);
    rows.int32(col::dns::SRC_PORT, 41_772);
    rows.float64(col::dns::SRC_LAT, 1.5);
    rows.texts(col::dns::ANSWERS, ["a", "b"].into_iter());
    rows.int64s(col::dns::TTLS, [2230, 41_830].into_iter());
    rows.unmapped("AA", "false");
    rows.end();
    let expected = json!({
        "event_id": "abababababababababababababababab",
        "tenant": "acme",
        "time": "2018-03-24T17:15:20.865716Z",
        "unmapped": { "AA": "false" },
        "src_port": 41_772,
        "src_lat": 1.5,
        "answers": ["a", "b"],
        "ttls": [2230, 41_830],
    });
    assert_eq!(Value::Object(row_json(&rows.finish(), 0)), expected);
}

#[test]
fn values_beyond_the_rows_and_of_other_types_are_no_text() {
    assert_eq!(text_value(&StringArray::from(vec!["a"]), 1), None);
    assert_eq!(text_value(&Int64Array::from(vec![1]), 0), None);
    assert_eq!(value_json(&Int64Array::from(vec![None, Some(1)]), 0), None);
}
