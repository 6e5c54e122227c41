//! Zeek's logs, as TSV with a header or as JSON lines.
//!
//! The context of a record is what a reader needs: of TSV the header lines (`#separator`, `#fields`, `#types`, …,
//! always with a `#path`), of JSON the log's name alone. A context that begins with `#` is a header.

use std::path::Path;

use bytes::Bytes;
use serde::Deserialize;

use super::lines::{Lines, is_blank};
use super::{Piece, Splitter};

/// Header lines that say how records are to be read; the others (`#open`, `#close`) do not.
const HEADER_KEYS: [&str; 7] =
    ["#separator", "#set_separator", "#empty_field", "#unset_field", "#path", "#fields", "#types"];

/// A header at most; what is beyond is no header, and its records will not be readable.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// Finds the records of one Zeek log.
#[derive(Clone, Debug)]
pub struct ZeekSplitter {
    lines: Lines,
    log_name: String,
    header: Vec<(&'static str, Vec<u8>)>,
    context: Bytes,
    named: bool,
}

impl ZeekSplitter {
    /// For the log at this path; its name counts where the log itself says none.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let log_name = log_name(path);
        let context = Bytes::from(log_name.clone());
        Self { lines: Lines::default(), log_name, header: Vec::new(), context, named: false }
    }

    /// A line that begins with `#`.
    fn comment(&mut self, line: &[u8]) {
        let length = line.iter().position(|b| !(b.is_ascii_lowercase() || b"#_".contains(b))).unwrap_or(line.len());
        let Some(&key) = HEADER_KEYS.iter().find(|key| key.as_bytes() == &line[..length]) else { return };
        if key == "#separator" {
            self.header.clear();
        }
        match self.header.iter_mut().find(|(old, _)| *old == key) {
            Some((_, old)) => line.clone_into(old),
            None => self.header.push((key, line.to_owned())),
        }
        let context = self.header_text();
        if context.len() <= MAX_HEADER_BYTES {
            self.context = context.into();
        }
    }

    fn header_text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for (_, line) in &self.header {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        if !self.header.iter().any(|(key, _)| *key == "#path") {
            text.extend_from_slice(b"#path");
            text.extend_from_slice(&self.separator());
            text.extend_from_slice(self.log_name.as_bytes());
            text.push(b'\n');
        }
        text
    }

    /// What `#separator \x09` says; a tab if it says nothing.
    fn separator(&self) -> Vec<u8> {
        let line = self.header.iter().find(|(key, _)| *key == "#separator").map(|(_, line)| line.as_slice());
        let text = line.and_then(|line| line.strip_prefix(b"#separator ")).unwrap_or(b"\\x09");
        match text.strip_prefix(b"\\x").and_then(|hex| std::str::from_utf8(hex).ok()) {
            Some(hex) => vec![u8::from_str_radix(hex, 16).unwrap_or(b'\t')],
            None => text.to_owned(),
        }
    }

    /// The first record of a JSON log may say the log's name.
    fn first_record(&mut self, record: &[u8]) {
        self.named = true;
        if !self.header.is_empty() {
            return;
        }
        if let Some(name) = serde_json::from_slice::<Named>(record).ok().and_then(|named| named.path.or(named.stream))
            && (1..=MAX_LOG_NAME_BYTES).contains(&name.len())
            && !name.starts_with('#')
        {
            self.context = name.into();
        }
    }
}

const MAX_LOG_NAME_BYTES: usize = 128;

#[derive(Deserialize)]
struct Named {
    #[serde(rename = "_path")]
    path: Option<String>,
    #[serde(rename = "@stream")]
    stream: Option<String>,
}

/// The log's name in a file's name: `dns.json.gz`, `dns.10:00:00-11:00:00.log.gz` and `dns-east.log` are all `dns`.
#[must_use]
pub fn log_name(path: &Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.split(['.', '-']).next().unwrap_or_default().to_owned()
}

impl Splitter for ZeekSplitter {
    fn next<'a>(&mut self, bytes: &'a [u8], end: bool) -> Piece<'a> {
        let piece = self.lines.next(bytes, end);
        let Piece::Record { bytes, record } = piece else { return piece };
        if record.first() == Some(&b'#') {
            self.comment(record);
            Piece::Skip { bytes }
        } else if is_blank(record) {
            Piece::Skip { bytes }
        } else {
            if !self.named {
                self.first_record(record);
            }
            piece
        }
    }

    fn line(&self) -> u64 {
        self.lines.line()
    }

    fn context(&self) -> &Bytes {
        &self.context
    }

    fn missing_end(&self, bytes: &[u8]) -> &'static [u8] {
        Lines::missing_end(bytes)
    }

    fn boxed_clone(&self) -> Box<dyn Splitter> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Line, context and text of each record.
    fn split(name: &str, text: &[u8]) -> Vec<(u64, String, String)> {
        let mut splitter = ZeekSplitter::new(Path::new(name));
        let (mut at, mut found) = (0, Vec::new());
        loop {
            match splitter.next(&text[at..], true) {
                Piece::More => return found,
                Piece::Skip { bytes } | Piece::TooLong { bytes } => at += bytes,
                Piece::Record { bytes, record } => {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    found.push((splitter.line(), text(splitter.context()), text(record)));
                    at += bytes;
                }
            }
        }
    }

    #[test]
    fn a_header_travels_with_its_records_and_may_change() {
        let log = "#separator \\x09\n#set_separator\t,\n#path\tdns\n#open\t2024\n#fields\tts\n#types\ttime\n1.0\n2.0\n\
                   #close\t2024\n#separator \\x2c\n#fields,ts,uid\n#types,time,string\n3.0,a";
        let found = split("/logs/x.log", log.as_bytes());
        let dns = "#separator \\x09\n#set_separator\t,\n#path\tdns\n#fields\tts\n#types\ttime\n";
        let unnamed = "#separator \\x2c\n#fields,ts,uid\n#types,time,string\n#path,x\n";
        let expected = [(7, dns, "1.0"), (8, dns, "2.0"), (13, unnamed, "3.0,a")];
        assert_eq!(found, expected.map(|(line, context, text)| (line, context.to_owned(), text.to_owned())));
    }

    #[test]
    fn a_json_log_is_named_by_itself_or_by_its_file() {
        for (file, record, name) in [
            ("conn-nashua.log", r#"{"@stream":"conn","ts":1}"#, "conn"),
            ("x.json.gz", r#"{"_path":"dns","@stream":"other"}"#, "dns"),
            ("http.10:00:00-11:00:00.log.gz", r#"{"ts":1}"#, "http"),
            ("weird.log", "{broken", "weird"),
            ("ssl.log", r#"{"_path":"\u0023fields"}"#, "ssl"),
        ] {
            assert_eq!(split(file, record.as_bytes()), [(1, name.to_owned(), record.to_owned())], "{file}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_split_without_loss(text in prop::collection::vec(prop::sample::select(b"#\n\r\t{}ax\\ separtofildy".to_vec()), 0..400)) {
            let lines = text.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
            let records = lines.filter(|line| !line.starts_with(b"#") && !is_blank(line)).count();
            prop_assert_eq!(split("a.log", &text).len(), records);
        }
    }
}
