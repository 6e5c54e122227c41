//! Wrong use is told from failure, and every answer says what to do.

use crate::atalaya::{Atalaya, shared};

#[test]
fn exit_codes_and_errors_teach() {
    let atalaya = Atalaya::new();
    for (arguments, code, says) in [
        (vec!["--help"], 0, "replay"),
        (vec!["sql", "--help"], 0, "Examples:"),
        (vec!["fly"], 2, "unrecognized subcommand"),
        (vec!["replay"], 2, "--source"),
        (vec!["sql", "select 1", "--format", "xml"], 2, "possible values"),
        (vec!["sql", "select 1"], 1, "no data there"),
        (vec!["run", "--config", "/nowhere"], 1, "/nowhere: no such directory"),
    ] {
        let output = atalaya.run(&arguments);
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(says), "{arguments:?}: {text}");
    }
}

#[test]
fn a_wrong_configuration_is_refused_with_file_line_and_cure() {
    let atalaya = Atalaya::new();
    let config = atalaya.config(&[]);
    std::fs::write(config.join("atalaya.yaml"), "\ncollector:\n  lisen: 127.0.0.1:0\n").unwrap();
    let output = atalaya.run(&["run", "--config", config.to_str().unwrap()]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("atalaya.yaml:3: ") && error.contains("did you mean 'listen'?"), "{error}");
}

#[test]
fn tokens_and_rules_are_made_and_checked() {
    let atalaya = Atalaya::new();
    let output = atalaya.run(&["token", "new", "--tenant", "acme"]);
    let secret = String::from_utf8(output.stdout).unwrap();
    assert_eq!(secret.trim().len(), 64);
    assert!(!String::from_utf8(output.stderr).unwrap().contains(secret.trim()));
    assert!(atalaya.run(&["rules", "check"]).status.success());
    let rows = atalaya.run(&["rules", "check", &shared("sigma/rules"), "--json"]);
    let rows = String::from_utf8(rows.stdout).unwrap();
    let rows: Vec<serde_json::Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 3_140);
    let unexplained =
        rows.iter().filter(|row| row["loaded"] == false && row["reason"].as_str().unwrap_or_default().is_empty());
    assert_eq!(unexplained.count(), 0);
}

#[test]
fn a_second_instance_says_who_holds_the_data() {
    let atalaya = Atalaya::new();
    let config = atalaya.config(&[]);
    let running = atalaya.start(&config);
    let output = atalaya.run(&["run", "--config", config.to_str().unwrap()]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("another process") && error.contains("holds it"), "{error}");
    assert!(running.stop());
}
