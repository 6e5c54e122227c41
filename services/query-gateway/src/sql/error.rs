//! Why a query has no answer, or stopped in the middle of it.

use datafusion::error::DataFusionError;

/// Why a query has no answer, or stopped in the middle of it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SqlError {
    /// The text is wrong, or asks for what nobody may do: change it.
    #[error("{0}")]
    Refused(String),
    /// Too many queries at once: try again later.
    #[error("{0} queries are running already; try again later")]
    Busy(usize),
    /// It took too long.
    #[error("the query took more than {0} ms; narrow it, by time for instance, or give it more")]
    Deadline(u128),
    /// It needs more memory or disk than one query may have.
    #[error("the query needs more than one query may have: {0}")]
    Resources(String),
    /// The store does not answer, or holds what cannot be read.
    #[error("the archive: {0}")]
    Archive(String),
    /// Something that should not happen.
    #[error("the query failed: {0}")]
    Internal(String),
}

impl From<DataFusionError> for SqlError {
    fn from(error: DataFusionError) -> Self {
        let text = || first_line(&error.strip_backtrace());
        match error.find_root() {
            DataFusionError::External(source) if source.is::<Self>() => {
                source.downcast_ref::<Self>().cloned().unwrap_or_else(|| Self::Internal(text()))
            }
            DataFusionError::SQL(..)
            | DataFusionError::Plan(_)
            | DataFusionError::SchemaError(..)
            | DataFusionError::NotImplemented(_)
            | DataFusionError::Diagnostic(..)
            | DataFusionError::Collection(_)
            | DataFusionError::ArrowError(..)
            | DataFusionError::Execution(_) => Self::Refused(text()),
            DataFusionError::ResourcesExhausted(_) => Self::Resources(text()),
            DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) | DataFusionError::ParquetError(_) => {
                Self::Archive(text())
            }
            _ => Self::Internal(text()),
        }
    }
}

impl From<SqlError> for DataFusionError {
    fn from(error: SqlError) -> Self {
        Self::External(Box::new(error))
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
