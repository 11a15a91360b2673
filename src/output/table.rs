//! What is written: columns of values, and why that fails.

use std::path::{Path, PathBuf};

/// The values of one column over some rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit integers.
    I64(Vec<i64>),
    /// Strings of bytes; text formats show what is not UTF-8 as replacement characters, safetensors leaves them out.
    Bytes(Vec<Vec<u8>>),
}

impl Values {
    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::Bytes(values) => values.len(),
        }
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::F32(_) => "floats",
            Self::I64(_) => "integers",
            Self::Bytes(_) => "strings",
        }
    }

    pub(super) fn append(&mut self, other: Self) {
        match (self, other) {
            (Self::F32(own), Self::F32(mut other)) => own.append(&mut other),
            (Self::I64(own), Self::I64(mut other)) => own.append(&mut other),
            (Self::Bytes(own), Self::Bytes(mut other)) => own.append(&mut other),
            // The table compares the kinds of every part before it is written.
            _ => debug_assert!(false, "columns of different kinds"),
        }
    }
}

/// One column of a table over some rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// One value per row.
    pub values: Values,
}

/// Why a file of results cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The ending of the file names no format.
    #[error("cannot tell the format of {}: it must end in .csv, .jsonl, .safetensors or .parquet", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The Parquet writer refused.
    #[error("cannot write {}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: ::parquet::errors::ParquetError,
    },
    /// The columns of a part are not those of the first one, or differ in length.
    #[error("column `{column}` does not fit the table: {problem}")]
    Column {
        /// The column.
        column: String,
        /// What is wrong.
        problem: String,
    },
}

impl OutputError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
