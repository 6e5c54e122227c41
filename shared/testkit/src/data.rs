//! The real sample data, beside the repository.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use flate2::read::MultiGzDecoder;

const SHARED_DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");

/// A path in the folder of real sample data, such as `zeek/dns.json.gz`.
///
/// # Errors
/// If it is not there.
pub fn shared_data(path: impl AsRef<Path>) -> Result<PathBuf> {
    let whole = Path::new(SHARED_DATA).join(path.as_ref());
    ensure!(
        whole.exists(),
        "sample data {} is missing: the tests need the folder 'shared/data' beside the repository",
        whole.display()
    );
    Ok(whole)
}

/// The lines of a file, unpacked if its name ends in `.gz`.
///
/// # Errors
/// If it cannot be read.
pub fn lines(path: &Path) -> Result<Vec<String>> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let reader: Box<dyn Read> = if path.extension().is_some_and(|extension| extension == "gz") {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    BufReader::new(reader).lines().collect::<Result<_, _>>().with_context(|| path.display().to_string())
}
