//! What people and programs read: tables, JSON lines, CSV.

use std::io::{self, IsTerminal, Write};

use anyhow::Context;
use clap::ValueEnum;
use serde_json::{Map, Value};

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Aligned columns
    #[default]
    Table,
    /// One JSON object a line
    Json,
    /// Comma-separated values with a header line
    Csv,
}

/// A cell of a table at most; what is longer ends in `…`.
const MAX_CELL_CHARS: usize = 60;

/// Writes one line to the standard output.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Writes one line to the standard error.
pub(super) fn note(text: &str) {
    // Nobody is left to tell where the standard error is closed.
    let _ = writeln!(io::stderr(), "{text}");
}

/// The last word of a command that failed.
pub(super) fn complain(text: &str) {
    note(&format!("atalaya: {text}"));
}

/// Whether it is only that the reader of our output has gone, as `head` does.
pub(super) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|io| io.kind() == io::ErrorKind::BrokenPipe)
}

/// Whether progress may be drawn.
pub(super) fn draws_progress() -> bool {
    io::stderr().is_terminal()
}

/// Writes objects in a format; the columns are those named first, then the others in order of their first appearance.
pub(super) fn objects(rows: &[Map<String, Value>], first: &[&str], format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return rows.iter().try_for_each(|row| line(&serde_json::to_string(row)?));
    }
    let mut columns: Vec<&str> =
        first.iter().copied().filter(|name| rows.iter().any(|row| row.contains_key(*name))).collect();
    for name in rows.iter().flat_map(Map::keys) {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    let cells = rows.iter().map(|row| columns.iter().map(|name| cell(row.get(*name))).collect()).collect::<Vec<_>>();
    match format {
        Format::Csv => csv(&columns, &cells),
        _ => table(&columns, &cells),
    }
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Writes CSV as RFC 4180 has it.
fn csv(columns: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    let quote = |cell: &str| {
        if cell.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell.to_owned()
        }
    };
    line(&columns.iter().map(|name| quote(name)).collect::<Vec<_>>().join(","))?;
    rows.iter().try_for_each(|row| line(&row.iter().map(|cell| quote(cell)).collect::<Vec<_>>().join(",")))
}

/// Writes aligned columns; control characters never reach the terminal.
pub(super) fn table(columns: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let width = |at: usize| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.chain([columns[at].chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let draw = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<_> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    line(&draw(&mut columns.iter().copied()))?;
    rows.iter().try_for_each(|row| line(&draw(&mut row.iter().map(String::as_str))))
}

fn printable(cell: &str) -> String {
    let clean: String = cell.chars().map(|c| if c.is_control() { '·' } else { c }).collect();
    if clean.chars().count() <= MAX_CELL_CHARS {
        clean
    } else {
        clean.chars().take(MAX_CELL_CHARS - 1).chain(['…']).collect()
    }
}

/// The objects in JSON texts.
pub(super) fn parse_objects<'a>(texts: impl IntoIterator<Item = &'a str>) -> anyhow::Result<Vec<Map<String, Value>>> {
    texts.into_iter().map(|text| serde_json::from_str(text).context("an answer's row")).collect()
}

/// A refusal in the server's own words.
#[allow(clippy::needless_pass_by_value, reason = "used as the function of map_err")]
pub(super) fn refused(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message())
}
