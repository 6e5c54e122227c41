//! Secrets and certificates: the configuration names where they are, never what they are.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use serde::Deserialize;

/// What a reference may lead to at most, bytes: room for a bundle of authorities.
const MAX_BYTES: u64 = 1 << 20;

/// Where a secret or a certificate is: `env:NAME` or `file:PATH`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum Reference {
    /// An environment variable.
    Env(String),
    /// A file.
    File(PathBuf),
}

impl Reference {
    /// What is there, as it stands.
    ///
    /// # Errors
    /// If it cannot be read, is empty, or is larger than 1 MiB. The error names the reference, never the content.
    pub fn read(&self) -> anyhow::Result<Vec<u8>> {
        let bytes = match self {
            Self::Env(name) => std::env::var(name).with_context(|| self.to_string())?.into_bytes(),
            Self::File(path) => {
                let length = std::fs::metadata(path).with_context(|| self.to_string())?.len();
                ensure!(length <= MAX_BYTES, "{self}: {length} bytes, more than {MAX_BYTES}");
                std::fs::read(path).with_context(|| self.to_string())?
            }
        };
        ensure!(!bytes.is_empty(), "{self}: empty");
        Ok(bytes)
    }

    /// What is there as one line: a last line end is not part of it.
    ///
    /// # Errors
    /// As [`Self::read`], or if it is no UTF-8.
    pub fn read_line(&self) -> anyhow::Result<String> {
        let text = String::from_utf8(self.read()?).ok().with_context(|| format!("{self}: no UTF-8"))?;
        Ok(text.trim_end_matches(['\n', '\r']).to_owned())
    }
}

impl TryFrom<String> for Reference {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ => Err("given by reference only: env:NAME or file:PATH".to_owned()),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_lead_to_their_content() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("key");
        let reference = Reference::try_from(format!("file:{}", path.display())).unwrap();
        assert!(format!("{:#}", reference.read().unwrap_err()).starts_with(&reference.to_string()));
        std::fs::write(&path, "").unwrap();
        assert!(reference.read().unwrap_err().to_string().ends_with("empty"));
        std::fs::write(&path, "s3cret\r\n").unwrap();
        assert_eq!((reference.read_line().unwrap().as_str(), reference.read().unwrap().len()), ("s3cret", 8));
        std::fs::write(&path, vec![b'x'; (1 << 20) + 1]).unwrap();
        assert!(reference.read().unwrap_err().to_string().contains("more than"));
        let unset = Reference::try_from("env:ATALAYA_NO_SUCH_SECRET".to_owned()).unwrap();
        assert!(unset.read().unwrap_err().to_string().contains("env:ATALAYA_NO_SUCH_SECRET"));
        for value in ["hunter2", "env:", "file:", "vault:x"] {
            assert!(Reference::try_from(value.to_owned()).is_err(), "{value}");
        }
    }
}
