//! `docs/schema.md` says what the table of columns says.

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/schema.md");

#[test]
fn docs_say_what_the_table_says() {
    let expected = atalaya_schema::reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(DOCS, &expected).unwrap();
    }
    let found = std::fs::read_to_string(DOCS).unwrap_or_default();
    assert!(
        found == expected,
        "docs/schema.md is out of date: UPDATE_DOCS=1 cargo test -p atalaya-schema --test reference writes it anew"
    );
}
