//! Files of any format: found, unpacked, read once, followed while they grow.

mod content;
mod cutter;
mod find;
mod reader;
mod tail;
mod take_in;

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use atalaya_chassis::Shutdown;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::admission::Scope;
use crate::config::SourceFile;
use crate::cut::{Note, Stamp};
use crate::intake::Intake;
use crate::sources::{self, Format};
use crate::spool::{FILES, SpoolError};
use crate::telemetry;

pub use content::READ_BYTES;
pub use cutter::{Cutter, Taken};
pub use find::{FindError, find};
pub use reader::{ReadError, cuts_of};
pub use take_in::{Batch, Progress, take_in};

/// Files of one source or replay at most.
pub const MAX_FILES: usize = 100_000;

/// A configured source of files: its format, and what is said of each input.
pub(crate) struct Source {
    pub(crate) file: SourceFile,
    pub(crate) format: &'static Format,
    pub(crate) stamp: Stamp,
    pub(crate) scope: Scope,
}

/// Takes a configured source in until the drain is asked for, or until it has no more to give.
pub(crate) async fn run(source: Source, intake: Intake, shutdown: Shutdown) -> anyhow::Result<()> {
    if source.file.tail { tail::run(source, intake, shutdown).await } else { once(source, intake, shutdown).await }
}

/// The files that are there now, as one backfill; those that were read to their end before are passed over.
async fn once(source: Source, intake: Intake, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut files = Vec::new();
    for file in find::find_in_background(vec![source.file.path.clone()], source.format).await? {
        let mark = FileMark::of(&file.metadata);
        if mark.stored(&intake, &source.scope).await? != Some(mark) {
            files.push(file);
        }
    }
    let stamp = Stamp { domain: intake.new_domain("backfill"), ..source.stamp };
    let batch = Batch { format: source.format, stamp, files, mark: true };
    let errors = take_in(batch, &intake, &Arc::default(), &shutdown).await?;
    if !shutdown.is_requested() {
        errors.iter().for_each(|error| telemetry::file_failed(&source.file.name, error));
    }
    Ok(())
}

impl Source {
    /// What a configuration's file says, completed.
    pub(crate) fn of(file: SourceFile) -> Result<Self, String> {
        let format = sources::format(&file.kind)?;
        let name = file.source_name()?;
        let stamp = Stamp {
            source: name,
            kind: format.kind.to_owned(),
            tenant: file.tenant.clone(),
            domain: atalaya_model::LIVE_DOMAIN.to_owned(),
            input_name: String::new(),
            lateness_us: file.lateness_us()?.unwrap_or(format.lateness_us),
            domain_inputs: 0,
        };
        let scope = Scope::new(stamp.source.as_str(), &stamp.tenant);
        Ok(Self { file, format, stamp, scope })
    }
}

/// A file as it stood when it had been read to its end: unchanged, under whatever name, it need not be opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FileMark {
    device: u64,
    inode: u64,
    /// None while it is being read.
    bytes: Option<u64>,
    modified_ns: i64,
}

impl FileMark {
    fn of(metadata: &Metadata) -> Self {
        let modified_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Self { device: metadata.dev(), inode: metadata.ino(), bytes: Some(metadata.len()), modified_ns }
    }

    fn id(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    fn key(&self, scope: &Scope) -> String {
        scope.key(&[self.device.to_le_bytes(), self.inode.to_le_bytes()].concat())
    }

    /// What is remembered of the same file.
    async fn stored(&self, intake: &Intake, scope: &Scope) -> Result<Option<Self>, SpoolError> {
        let value = intake.note(FILES, &self.key(scope)).await?;
        Ok(value.and_then(|value| serde_json::from_slice(&value).ok()).filter(|mark: &Self| mark.id() == self.id()))
    }

    /// To be written with the first records of the file: from then on, what is known of it is its source's own.
    fn begun(self, scope: &Scope) -> Note {
        Self { bytes: None, ..self }.note(scope)
    }

    /// To be written when its input is closed.
    fn note(&self, scope: &Scope) -> Note {
        let value = serde_json::to_vec(self).ok().map(Bytes::from);
        Note { bucket: FILES, key: self.key(scope), value }
    }
}
