use serde_json::json;

use super::*;

#[allow(clippy::needless_pass_by_value, reason = "json! stands in the call")]
fn holds(modifiers: &str, wanted: Value, value: &str) -> bool {
    let modifiers = Modifiers::parse(modifiers).unwrap();
    modifiers.tests(&wanted).unwrap().iter().any(|test| test.holds(Some(value)))
}

#[test]
fn modifiers_decide_values() {
    for (modifiers, wanted, value, expected) in [
        ("", json!("abc"), "ABC", true),
        ("", json!("a*c"), "ABBC", true),
        ("", json!(r"a\*c"), "abbc", false),
        ("", json!(53), "53", true),
        ("", json!(true), "true", true),
        ("cased", json!("abc"), "ABC", false),
        ("contains", json!("b"), "ABC", true),
        ("contains", json!("b*d"), "ABCDE", true),
        ("startswith", json!("ab"), "ABC", true),
        ("startswith", json!("bc"), "ABC", false),
        ("endswith", json!("bc"), "ABC", true),
        ("endswith", json!(r"\cmd.exe"), r"C:\Windows\CMD.EXE", true),
        ("contains|cased", json!("B"), "abc", false),
        ("re", json!("^a.c$"), "abc", true),
        ("re", json!("^a.c$"), "ABC", false),
        ("re|i", json!("^a.c$"), "ABC", true),
        ("re|i|s", json!("^a.c$"), "A\nC", true),
        ("cidr", json!("10.0.0.0/8"), "10.2.3.4", true),
        ("cidr", json!("10.0.0.0/8"), "example.org", false),
        ("lt", json!(10), "9", true),
        ("lt", json!(10), "10", false),
        ("lte", json!("10"), "10", true),
        ("gt", json!(1.5), "2", true),
        ("gte", json!(2), "x", false),
        ("base64", json!("foobar"), "Zm9vYmFy", true),
        ("base64offset|contains", json!("/bin/bash"), "xxL2Jpbi9iYXNoyy", true),
        ("base64offset|contains", json!("/bin/bash"), "xxvYmluL2Jhc2yy", true),
        ("base64offset|contains", json!("/bin/bash"), "xx9iaW4vYmFzayy", true),
        ("base64offset|contains", json!("/bin/bash"), "xxzzzz", false),
        ("wide|base64offset|contains", json!("ping"), "cABpAG4AZw", true),
        ("windash|contains", json!(" -f "), "a /f b", true),
        ("windash|contains", json!(" -f "), "a \u{2013}f b", true),
        ("windash|contains", json!(" -f "), "a +f b", false),
    ] {
        assert_eq!(holds(modifiers, wanted.clone(), value), expected, "{modifiers} {wanted} on {value:?}");
    }
}

#[test]
fn keywords_stand_anywhere() {
    let modifiers = Modifiers::default();
    let tests = modifiers.keyword_tests(&json!("Segfault")).unwrap();
    assert!(tests[0].holds(Some("child: segfault at 0")));
    assert!(modifiers.keyword_tests(&json!(null)).is_err());
}

#[test]
fn null_and_existence() {
    let none = Modifiers::parse("").unwrap();
    assert_eq!(none.tests(&json!(null)).unwrap(), [Test::Null]);
    assert!(Test::Null.holds(None) && !Test::Null.holds(Some("")));
    let exists = Modifiers::parse("exists").unwrap();
    assert_eq!(exists.exists(&json!(true)), Ok(Some(true)));
    assert!(exists.exists(&json!(5)).is_err());
    assert_eq!(none.exists(&json!(true)), Ok(None));
}

#[test]
fn what_is_not_understood_is_refused() {
    for (modifiers, reason) in [
        ("expand", "not supported"),
        ("fieldref", "not supported"),
        ("contain", "unknown"),
        ("contains|endswith", "contradicts"),
        ("i", "only after 're'"),
        ("base64|re", "do not go with"),
    ] {
        let error = Modifiers::parse(modifiers).unwrap_err();
        assert!(error.contains(reason), "{modifiers}: {error}");
    }
    for (modifiers, wanted) in [
        ("cidr", json!("10.0.0.0/40")),
        ("re", json!("(")),
        ("lt", json!("x")),
        ("contains", json!(null)),
        ("", json!([1])),
    ] {
        assert!(Modifiers::parse(modifiers).unwrap().tests(&wanted).is_err(), "{modifiers} {wanted}");
    }
}

#[test]
fn many_dashes_do_not_explode() {
    assert_eq!(dashed("-a -b").len(), 25);
    assert_eq!(dashed("-a -b -c -d -e -f").len(), 6);
    assert_eq!(dashed("a-b c/d"), ["a-b c/d"]);
}
