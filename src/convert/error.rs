//! Why tables cannot be converted: which file, which row, which column, and whose fault it is.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::row::Place;
use crate::data::{DataError, Fault};

/// Why a conversion stopped.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The mapping contradicts itself, or lacks something.
    #[error("{key}: {reason}")]
    Setting {
        /// The key of the mapping.
        key: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// Nothing to read.
    #[error("no tables found: inputs `{pattern}`{origin} matches no file{passed}")]
    NoFiles {
        /// The glob.
        pattern: String,
        /// The glob with braces that it is a part of, in words.
        origin: String,
        /// What was found and passed over, in words.
        passed: String,
    },
    /// Tables in a store cannot be found.
    #[error(transparent)]
    Store(#[from] DataError),
    /// There are tables, but no rows.
    #[error("no rows: {} {what}", file.display())]
    NoRows {
        /// The first of the tables.
        file: Arc<Path>,
        /// What is in it, and in how many others.
        what: String,
    },
    /// What is called a table is something else.
    #[error("{}: {found}: {remedy}", file.display())]
    NoTable {
        /// The file.
        file: Arc<Path>,
        /// What it is.
        found: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A comparison can never hold.
    #[error("{}: column `{column}` holds {holds}: {remedy}; found `{comparison}`", file.display())]
    Comparison {
        /// The table.
        file: Arc<Path>,
        /// As the mapping calls it.
        column: String,
        /// As the mapping has it.
        comparison: String,
        /// What is in the column, in words.
        holds: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A label is the same in every row.
    #[error(
        "labels.{task}: `{comparison}` holds in {found} of the {rows} rows of the part `{part}`: nothing can be learned \
         of one class; correct it, or set allow_one_class to true in the mapping"
    )]
    OneClass {
        /// The task.
        task: String,
        /// As the mapping has it.
        comparison: String,
        /// `none` or `all`.
        found: &'static str,
        /// Rows of the part.
        rows: u64,
        /// Its name.
        part: String,
    },
    /// The folder to write is there already.
    #[error("{} exists already: remove it or choose another output_dir", folder.display())]
    Exists {
        /// The folder.
        folder: PathBuf,
    },
    /// Another conversion has begun the folder to write.
    #[error("{} is being written by another conversion: wait for it to end, or choose another output_dir", folder.display())]
    InTheMaking {
        /// The folder.
        folder: PathBuf,
    },
    /// A table lacks a column that the mapping uses.
    #[error("{}: there is no column `{column}`, {known}", file.display())]
    Column {
        /// The table.
        file: Arc<Path>,
        /// As the mapping calls it.
        column: String,
        /// What columns there are, in words.
        known: String,
    },
    /// A file is no table, or ends in the middle of one.
    #[error("{}: cannot be read as {format}", file.display())]
    Table {
        /// The file.
        file: Arc<Path>,
        /// `CSV` or `Parquet`.
        format: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A row is damaged.
    #[error("{}: {place}: {reason}", file.display())]
    Row {
        /// The table.
        file: Arc<Path>,
        /// Where the row stands in it.
        place: Place,
        /// What is wrong with it.
        reason: String,
    },
    /// A cell does not hold what the mapping expects.
    #[error("{}: {place}, column `{column}`: expected {expected}, found {found}", file.display())]
    Cell {
        /// The table.
        file: Arc<Path>,
        /// Where the row stands in it.
        place: Place,
        /// As the mapping calls it.
        column: String,
        /// What would be right.
        expected: String,
        /// The cell, in words.
        found: String,
    },
    /// A part would be empty.
    #[error("no row belongs to the part `{part}`: {remedy}")]
    EmptyPart {
        /// The part.
        part: String,
        /// What to change.
        remedy: &'static str,
    },
    /// A vocabulary file cannot be used.
    #[error("vocabulary {}: {reason}", path.display())]
    Vocabulary {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ConvertError {
    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Setting { .. }
            | Self::Exists { .. }
            | Self::InTheMaking { .. }
            | Self::Column { .. }
            | Self::Comparison { .. }
            | Self::Vocabulary { .. } => Fault::Config,
            Self::Store(error) => error.fault(),
            Self::NoFiles { .. }
            | Self::NoRows { .. }
            | Self::NoTable { .. }
            | Self::OneClass { .. }
            | Self::Table { .. }
            | Self::Row { .. }
            | Self::Cell { .. }
            | Self::EmptyPart { .. } => Fault::Data,
            Self::Io { .. } => Fault::Machine,
        }
    }

    pub(super) fn setting(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Setting {
            key: key.into(),
            reason: reason.into(),
        }
    }

    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// An error and the row it was met at: of several, the one of the first row is told.
#[derive(Debug)]
pub(super) struct Failure {
    /// Number of the row over all files.
    pub(super) index: u64,
    pub(super) error: ConvertError,
}
