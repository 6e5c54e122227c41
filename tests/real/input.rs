//! What a mesh is fed: real logs of one network.

use std::collections::HashMap;

use anyhow::{Context, ensure};
use atalaya_testkit::{lines, shared_data};
use bytes::Bytes;

/// The log that a file grows with: JSON, of a sensor that sees many tenants.
const GROWING: &str = "zeek/dns.json.gz";

/// The log that is pushed: JSON, one tenant's.
const PUSHED: &str = "zeek/ssl.json.gz";

/// The logs that are there already: TSV, packed, one tenant's.
const THERE: [&str; 7] = [
    "zeek/kerberos.log.gz",
    "zeek/notice.log.gz",
    "zeek/ntlm.log.gz",
    "zeek/rdp.log.gz",
    "zeek/smtp.log.gz",
    "zeek/ssh.log.gz",
    "zeek/syslog.log.gz",
];

/// All of it.
pub(crate) struct Input {
    /// Records of a file that grows, in order.
    pub(crate) growing: Vec<Bytes>,
    /// Records to be pushed, in order.
    pub(crate) pushed: Vec<Bytes>,
    /// Records of the files that are there.
    there: Vec<Bytes>,
}

impl Input {
    pub(crate) fn read() -> anyhow::Result<Self> {
        let mut there = Vec::new();
        for name in THERE {
            there.extend(records(name)?.into_iter().filter(|line| !line.starts_with(b"#")));
        }
        Ok(Self { growing: records(GROWING)?, pushed: records(PUSHED)?, there })
    }

    /// The files that are there.
    pub(crate) fn files() -> anyhow::Result<Vec<std::path::PathBuf>> {
        THERE.iter().map(shared_data).collect()
    }

    /// Records.
    pub(crate) fn len(&self) -> usize {
        self.all().count()
    }

    fn all(&self) -> impl Iterator<Item = &Bytes> {
        [&self.growing, &self.pushed, &self.there].into_iter().flatten()
    }

    /// Whether these are its records, each as often.
    pub(crate) fn same(&self, found: impl IntoIterator<Item = Bytes>) -> anyhow::Result<()> {
        let mut open: HashMap<Bytes, i64> = HashMap::new();
        self.all().for_each(|record| *open.entry(record.clone()).or_default() += 1);
        let mut count = 0;
        for record in found {
            count += 1;
            *open.entry(record).or_default() -= 1;
        }
        let missing: i64 = open.values().filter(|open| **open > 0).sum();
        let surplus: i64 = -open.values().filter(|open| **open < 0).sum::<i64>();
        let example = open.iter().find(|(_, open)| **open != 0).map(|(record, _)| String::from_utf8_lossy(record));
        ensure!(
            missing == 0 && surplus == 0,
            "RAW: {} records expected, {count} found, {missing} missing, {surplus} too many, such as {example:?}",
            self.len()
        );
        Ok(())
    }
}

fn records(name: &str) -> anyhow::Result<Vec<Bytes>> {
    let read = lines(&shared_data(name)?).with_context(|| name.to_owned())?;
    Ok(read.into_iter().filter(|line| !line.is_empty()).map(Bytes::from).collect())
}
