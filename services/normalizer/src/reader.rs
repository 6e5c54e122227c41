//! How the records of one message are read: by the kind of its source and by its context.

use atalaya_proto::raw_v1::RawHeader;

use crate::formats::zeek_tsv::Header;
use crate::formats::{self, Fault, json};
use crate::mapping::{Format, Kind, Mappings};
use crate::park::Reason;
use crate::record::{Record, Value};

/// The reader of one message's records.
pub(crate) struct Reader<'a> {
    kind: Option<&'a Kind>,
    /// The log's name where a record does not say, and its plan.
    log: Option<&'a str>,
    plan: Option<usize>,
    syntax: Syntax<'a>,
    kind_name: &'a str,
}

enum Syntax<'a> {
    Json,
    Ocsf,
    Tsv(Header<'a>, Vec<&'a str>),
    /// Nothing of this message can be read.
    None(Reason, String),
}

impl<'a> Reader<'a> {
    /// The reader for a message.
    pub(crate) fn new(header: &'a RawHeader, mappings: &'a Mappings) -> Self {
        let kind_name = header.kind.as_str();
        let Some(kind) = mappings.kind(kind_name) else {
            let syntax = Syntax::None(Reason::UnknownKind, format!("no mapping for source kind '{kind_name}'"));
            return Self { kind: None, log: None, plan: None, syntax, kind_name };
        };
        let (syntax, named) = Syntax::of(kind.format, &header.context);
        let log = named.or_else(|| of_file(kind, &header.input_name));
        Self { kind: Some(kind), log, plan: kind.plan(log.unwrap_or_default()), syntax, kind_name }
    }

    /// Whether records are OCSF events.
    pub(crate) fn is_ocsf(&self) -> bool {
        matches!(self.syntax, Syntax::Ocsf)
    }

    /// The record as text; none if there is nothing in it.
    pub(crate) fn text(&self, bytes: &'a [u8]) -> Result<Option<&'a str>, Fault> {
        if bytes.len() > crate::MAX_RECORD_BYTES {
            let limit = crate::MAX_RECORD_BYTES;
            return Err(Fault::new(Reason::TooLarge, format!("{} bytes, more than {limit}", bytes.len())));
        }
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        let comment = matches!(self.syntax, Syntax::Tsv(..)) && bytes.first() == Some(&b'#');
        if comment || bytes.trim_ascii().is_empty() { Ok(None) } else { formats::text(bytes).map(Some) }
    }

    /// Reads the record's fields.
    pub(crate) fn read(&self, text: &'a str, record: &mut Record<'a>) -> Result<(), Fault> {
        match &self.syntax {
            Syntax::Tsv(header, names) => header.record(text, record, names),
            Syntax::None(reason, detail) => Err(Fault::new(*reason, detail.clone())),
            Syntax::Json | Syntax::Ocsf if !text.trim_ascii_start().starts_with(['{', '[']) && text.contains('\t') => {
                Err(Fault::new(Reason::NoHeader, "tab-separated values without a header that names them"))
            }
            Syntax::Json | Syntax::Ocsf => json::read(text, record),
        }
    }

    /// The log a record is of, and the index of the log's plan.
    pub(crate) fn log<'r>(&'r self, record: &'r Record<'a>) -> Result<(Option<&'r str>, usize), Fault> {
        let unknown = || Fault::new(Reason::UnknownKind, format!("no mapping for a log of kind '{}'", self.kind_name));
        let kind = self.kind.ok_or_else(unknown)?;
        let told = match self.syntax {
            Syntax::Tsv(..) => None,
            _ => told(kind, record),
        };
        match told {
            Some(log) if self.log != Some(log) => Ok((Some(log), kind.plan(log).ok_or_else(unknown)?)),
            _ => Ok((self.log, self.plan.ok_or_else(unknown)?)),
        }
    }
}

impl<'a> Syntax<'a> {
    /// The syntax, and the log's name if the context tells it.
    fn of(format: Format, context: &'a [u8]) -> (Self, Option<&'a str>) {
        let name = std::str::from_utf8(context).ok().map(str::trim_ascii).filter(|name| !name.is_empty());
        match format {
            Format::Ocsf => (Self::Ocsf, None),
            Format::Zeek if context.starts_with(b"#") => match Header::read(context) {
                Ok(header) => {
                    let (path, names) = (header.path, header.names());
                    (Self::Tsv(header, names), path)
                }
                Err(fault) => (Self::None(fault.reason, fault.detail), None),
            },
            Format::Zeek | Format::Json => (Self::Json, name),
        }
    }
}

/// The log that the record names.
fn told<'r>(kind: &Kind, record: &'r Record<'_>) -> Option<&'r str> {
    kind.log_name.iter().find_map(|field| {
        let fields = record.fields.iter();
        let mut found = fields.filter(|(key, _)| record.str(*key) == field);
        if let Some((_, Value::Text(log))) = found.next() { Some(record.str(*log)) } else { None }
    })
}

/// The log that the name of the input's file tells: `/logs/dns.2024-01-01.json.gz`, `conn-nashua.log`.
fn of_file<'a>(kind: &Kind, input_name: &'a str) -> Option<&'a str> {
    if !kind.log_name_of_file {
        return None;
    }
    let file = input_name.rsplit('/').next().unwrap_or_default();
    let end = file.find(['.', '-', ' ', ':']).unwrap_or(file.len());
    Some(&file[..end]).filter(|log| kind.knows(log))
}
