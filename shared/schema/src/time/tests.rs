use proptest::prelude::*;

use super::*;

#[test]
fn rfc_3339_is_read() {
    for (text, us) in [
        ("1970-01-01T00:00:00Z", 0),
        ("2018-03-24T17:15:20.866586Z", 1_521_911_720_866_586),
        ("2018-03-24t17:15:20.866586z", 1_521_911_720_866_586),
        ("2018-03-24 18:15:20.866586+01:00", 1_521_911_720_866_586),
        ("2018-03-24T11:45:20.866586-05:30", 1_521_911_720_866_586),
        ("2018-03-24T17:15:20.8Z", 1_521_911_720_800_000),
        ("2018-03-24T17:15:20.866586999Z", 1_521_911_720_866_587),
        ("2018-03-24T17:15:20.9999996Z", 1_521_911_721_000_000),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000_000),
        ("2000-02-29T00:00:00Z", 951_782_400_000_000),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000_000),
        ("9999-12-31T23:59:59Z", 253_402_300_799_000_000),
    ] {
        assert_eq!(parse_time_us(text), Some(us), "{text}");
    }
}

#[test]
fn what_is_no_time_is_refused() {
    for text in [
        "",
        "2018-03-24",
        "2018-03-24T17:15:20",
        "2018-03-24T17:15:20.Z",
        "2018-02-29T00:00:00Z",
        "2018-13-01T00:00:00Z",
        "2018-00-01T00:00:00Z",
        "2018-01-00T00:00:00Z",
        "2018-01-01T24:00:00Z",
        "2018-01-01T00:60:00Z",
        "2018-01-01T00:00:61Z",
        "2018-01-01T00:00:00+0100",
        "2018-01-01T00:00:00+24:00",
        "2018-01-01T00:00:00Zx",
        "2018/01/01T00:00:00Z",
        "2018-01-01T00:00:0éZ",
    ] {
        assert_eq!(parse_time_us(text), None, "{text}");
    }
}

#[test]
fn seconds_are_read_exactly() {
    for (text, us) in [
        ("0", 0),
        ("1521911720", 1_521_911_720_000_000),
        ("1521911720.865716", 1_521_911_720_865_716),
        ("1588206738.09551", 1_588_206_738_095_510),
        ("0.0008699893951416016", 870),
        ("0.000870", 870),
        ("0.9999999", 1_000_000),
        ("-0.5", -500_000),
        ("9.5367431640625e-07", 1),
        ("1.5e3", 1_500_000_000),
        // Exactly between two microseconds: to even.
        ("0.0078125", 7_812),
        ("0.0234375", 23_438),
        // Between two in this text, but a little less or more in binary, as printf sees it.
        ("0.0000035", 3),
        ("0.0000025", 3),
    ] {
        assert_eq!(seconds_to_us(text), Some(us), "{text}");
    }
    for text in ["", "-", ".5", "1.2.3", "abc", "nan", "inf", "1e400", "99999999999999999999", "1 ", "0x10"] {
        assert_eq!(seconds_to_us(text), if text == ".5" { Some(500_000) } else { None }, "{text}");
    }
}

#[test]
fn floats_that_are_no_time_are_refused() {
    for seconds in [f64::NAN, f64::INFINITY, 1e300, 9.3e12, -1e19] {
        assert_eq!(seconds_f64_to_us(seconds), None, "{seconds}");
    }
    assert_eq!(seconds_f64_to_us(f64::MIN_POSITIVE), Some(0));
    assert_eq!(seconds_f64_to_us(-1.5), Some(-1_500_000));
    assert_eq!(seconds_f64_to_us(4_503_599_627_370_496.0), None);
}

fn seconds() -> impl Strategy<Value = f64> {
    // The last kind has exact ties: multiples of a power of two.
    prop_oneof![0.0..10.0, 1.4e9..2.0e9, -5.0..5.0, (0i64..1 << 40).prop_map(|n| n as f64 / 8_388_608.0)]
}

proptest! {
    #[test]
    fn times_come_back(us in -62_135_596_800_000_000i64..253_402_300_799_999_999) {
        prop_assert_eq!(parse_time_us(&format_time(us)), Some(us));
    }

    /// The twins of one log: six decimals in one, the shortest text that gives the number back in the other.
    #[test]
    fn twins_agree(seconds in seconds()) {
        let printed = seconds_to_us(&format!("{seconds:.6}"));
        prop_assert_eq!(printed, seconds_to_us(&seconds.to_string()), "{}", seconds);
        prop_assert_eq!(printed, seconds_to_us(&format!("{seconds:e}")), "{}", seconds);
        prop_assert_eq!(printed, seconds_f64_to_us(seconds), "{}", seconds);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[0-9TZ:. +e-]{0,40}") {
        let _ = (parse_time_us(&text), seconds_to_us(&text));
    }
}
