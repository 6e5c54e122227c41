//! The load: the real Zeek DNS sample many times over, every copy with fresh identities.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use atalaya_schema::{format_time, parse_time_us};

/// Each copy begins so much later than the one before: longer than the sample lasts.
const COPY_SHIFT_US: i64 = 3_600_000_000;

/// Distinct names and sources of the permuted stream.
const NAMES: usize = 1_000_000;
const SOURCES: usize = 100_000;

/// Which stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Names and sources as they are: 1,651 names.
    Sample,
    /// 10⁶ names, 10⁵ sources, all of them addresses that the sample has not.
    Permuted,
}

/// The first address of the permuted stream's sources.
const FIRST_SOURCE: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 0);

/// Sources of one network, when they are dealt out to tenants; and its prefix.
const NETWORK_SOURCES: usize = 8;
const NETWORK_PREFIX: u32 = 29;

/// The permuted stream's sources as networks, dealt out to so many tenants: always as many networks, whosever they are.
pub fn networks(tenants: usize) -> Vec<Vec<String>> {
    let mut dealt = vec![Vec::new(); tenants];
    for (at, first) in (0..SOURCES).step_by(NETWORK_SOURCES).enumerate() {
        dealt[at % tenants].push(format!("{}/{NETWORK_PREFIX}", address(first)));
    }
    dealt
}

fn address(source: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(FIRST_SOURCE) + source as u32)
}

/// The sample's lines.
pub fn sample() -> anyhow::Result<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/zeek/dns.json.gz");
    let file = File::open(&path).with_context(|| format!("{}: the shared data is needed", path.display()))?;
    let lines = BufReader::new(flate2::read::GzDecoder::new(file)).lines();
    Ok(lines.collect::<Result<_, _>>()?)
}

/// Line `number` of copy `copy`: later, with another uid, and in the permuted stream another name and source.
pub fn line(sample: &str, copy: usize, number: usize, variant: Variant) -> String {
    let later = |text: &str| {
        let shift_us = i64::try_from(copy).unwrap_or_default() * COPY_SHIFT_US;
        parse_time_us(text).map_or_else(|| text.to_owned(), |time_us| format_time(time_us + shift_us))
    };
    let line = replace(sample, "\"ts\":\"", later);
    let line = replace(&line, "\"uid\":\"", |uid| format!("{uid}.{copy}"));
    if variant == Variant::Sample {
        return line;
    }
    // A full-period walk over all names, and over all sources.
    let (name, source) = (number.wrapping_mul(7_919) % NAMES, number.wrapping_mul(31) % SOURCES);
    let line = replace(&line, "\"query\":\"", |query| {
        let domain = query.split_once('.').map_or(query, |(_, domain)| domain);
        format!("n{name}.{domain}")
    });
    replace(&line, "\"id.orig_h\":\"", |_| address(source).to_string())
}

/// The line with the JSON text after `key` changed.
fn replace(line: &str, key: &str, change: impl Fn(&str) -> String) -> String {
    let Some(start) = line.find(key).map(|at| at + key.len()) else { return line.to_owned() };
    let end = start + line[start..].find('"').unwrap_or_default();
    format!("{}{}{}", &line[..start], change(&line[start..end]), &line[end..])
}

/// Writes copies as files, so many to a file; answers with the files and the number of records. Other copies are other
/// records.
pub fn write(
    directory: &Path,
    sample: &[String],
    copies: std::ops::Range<usize>,
    variant: Variant,
) -> anyhow::Result<(Vec<PathBuf>, u64)> {
    const FILES: usize = 4;
    std::fs::create_dir_all(directory)?;
    let (mut paths, mut number) = (Vec::new(), 0);
    for file in copies.clone().take(FILES) {
        let path = directory.join(format!("dns-{file}.log"));
        let mut out = BufWriter::new(File::create(&path)?);
        for copy in (file..copies.end).step_by(FILES) {
            for text in sample {
                writeln!(out, "{}", line(text, copy, number, variant))?;
                number += 1;
            }
        }
        out.flush()?;
        paths.push(path);
    }
    Ok((paths, number as u64))
}

/// Bytes of every file below a directory.
pub fn bytes_below(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => bytes_below(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}
