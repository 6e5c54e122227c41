//! The reference documentation of the columns, generated from their table.

use std::fmt::Write;

use atalaya_model::Class;

use crate::{Column, EVT_PARTITION, EVT_SEQ, col, columns};

const HEAD: &str = "\
# Columns

Generated from `shared/schema/src/col`; `UPDATE_DOCS=1 cargo test -p atalaya-schema --test reference` writes it anew.

One table per class; the envelope is in every one. Types: `text` and `keyword` are UTF-8 (a keyword repeats, so that it
is a dictionary on the bus); integers are signed; `time` is UTC in microseconds; `id` is 16 bytes, written as 32
hexadecimal digits; a name in `_us` is a duration in microseconds. OCSF paths: `[0]` is the first element of an array,
`[]` every element. A time stands there in milliseconds and exactly in the attribute with `_dt` beside it, a duration in
milliseconds and exactly under `unmapped.atalaya`.
";

/// Every column of every class, as Markdown: what `docs/schema.md` holds.
#[must_use]
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    section(&mut text, "envelope", "every class", &columns(Class::BaseEvent)[..col::AFTER_ENVELOPE]);
    for (name, doc) in [
        (EVT_PARTITION, "int32 | | archive and SQL only: the bus partition the row came in"),
        (EVT_SEQ, "int64 | | archive and SQL only: the sequence of its message there"),
    ] {
        row(&mut text, name, doc);
    }
    let endpoints = &columns(Class::NetworkActivity)[col::AFTER_ENVELOPE..col::AFTER_ENDPOINTS];
    section(&mut text, "endpoints", "authentication, network_activity, http_activity and dns_activity", endpoints);
    for class in Class::ALL {
        let first = if col::has_endpoints(class) { col::AFTER_ENDPOINTS } else { col::AFTER_ENVELOPE };
        let after = if col::has_endpoints(class) { "envelope, endpoints and" } else { "envelope and" };
        section(&mut text, &format!("{} {}", class.name(), class.uid()), after, &columns(class)[first..]);
        for (here, there) in columns(class)[..first].iter().zip(columns(Class::NetworkActivity)) {
            if here.ocsf != there.ocsf {
                line(&mut text, here);
            }
        }
    }
    text
}

fn section(text: &mut String, title: &str, about: &str, columns: &[Column]) {
    let _ = write!(text, "\n## {title}\n\n{about}:\n\n| column | type | OCSF | meaning |\n|---|---|---|---|\n");
    columns.iter().for_each(|column| line(text, column));
}

fn line(text: &mut String, column: &Column) {
    row(text, column.name, &format!("{} | `{}` | {}", column.kind.name(), column.ocsf, column.doc));
}

fn row(text: &mut String, name: &str, rest: &str) {
    let _ = writeln!(text, "| `{name}` | {rest} |");
}
