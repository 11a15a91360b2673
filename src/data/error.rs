//! Why data cannot be loaded: what was read, where it broke, and whose fault it is.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::no_records::NoRecords;
use super::remote::RemoteError;
use super::source::NotRegular;
use super::survey::Survey;
use super::tfrecord::Foreign;
use crate::whole_file::FolderError;

/// Whose fault a [`DataError`] is; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The config, the schema or a mask cannot be used.
    Config,
    /// Files of records are missing or damaged.
    Data,
    /// The machine failed while running: a disk, a thread.
    Machine,
}

/// Why the loader or the generator stopped.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A setting contradicts the schema, another setting, or what is supported.
    #[error("{key}: {reason}")]
    Setting {
        /// The key of the config, as far below the data section as it is known.
        key: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The pattern of `inputs` is no glob.
    #[error("inputs: `{pattern}` is no glob pattern")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What the glob parser says.
        source: glob::PatternError,
    },
    /// Nothing to read.
    #[error("no data files found: {searched}; correct it, or let `generate` write random data")]
    NoFiles {
        /// The pattern, or the folders.
        searched: String,
    },
    /// Too many dated folders are missing or empty.
    #[error(
        "{} of the dated input folders are missing or hold no .gz file, {tolerated} tolerated: {}",
        folders.len(), list(folders)
    )]
    MissingFolders {
        /// The folders.
        folders: Vec<PathBuf>,
        /// How many may be missing.
        tolerated: usize,
    },
    /// A file that the config names cannot be read or parsed.
    #[error("{what} {}: {reason}", path.display())]
    Support {
        /// `schema` or `mask`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A used feature is not in the schema.
    #[error("feature `{feature}` is missing from schema {}", path.display())]
    NotInSchema {
        /// The name in the record.
        feature: String,
        /// The schema.
        path: PathBuf,
    },
    /// A record, or the container around it, cannot be used.
    #[error("{}: record {record} at byte {offset}", path.display())]
    Record {
        /// The file.
        path: Arc<std::path::Path>,
        /// Number of the record in its file, from 0.
        record: u64,
        /// Where the record starts in the uncompressed stream, in bytes.
        offset: u64,
        /// What is wrong.
        source: RecordError,
    },
    /// The model would get no features, and the records have one key per column.
    #[error(
        "seg_dense_schema: the config names nothing that makes the feature `continuous`, and {0}: name them in seg_dense_schema.columns; `check` prints that piece of config"
    )]
    OneKeyPerColumn(Box<Survey>),
    /// A file is no TFRecord file but something known.
    #[error("{} is no TFRecord file: {found}", path.display())]
    Foreign {
        /// The file.
        path: Arc<std::path::Path>,
        /// What it is, and what to do.
        found: Foreign,
    },
    /// What the config names as data cannot be read again and again.
    #[error("{}", path.display())]
    NotRegular {
        /// Where it stands.
        path: PathBuf,
        /// What it is, and what to do.
        source: NotRegular,
    },
    /// There are files, and every one is empty.
    #[error("all {count} data files are empty (0 bytes), {} is one", first.display())]
    Empty {
        /// How many.
        count: usize,
        /// One of them.
        first: PathBuf,
    },
    /// Files were there, but not one record for this rank in them.
    #[error("{0}")]
    NoRecords(NoRecords),
    /// A file or folder cannot be listed, created or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried: `write`, `list`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Decoded rows cannot be kept where the config says.
    #[error("cache_dir: {0}")]
    CacheFolder(Box<FolderError>),
    /// Remote objects cannot be listed or found.
    #[error("cannot find {address}")]
    Remote {
        /// The pattern, file or folder.
        address: String,
        /// What the store said.
        source: RemoteError,
    },
    /// A background thread ended without a result: a defect.
    #[error("the data thread `{thread}` failed: {message}")]
    Thread {
        /// Its name.
        thread: String,
        /// What it said.
        message: String,
    },
}

/// What is wrong with one record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file was there when files were listed.
    #[error("the file cannot be opened any more")]
    Open(#[source] io::Error),
    /// The file cannot be read: the machine's fault.
    #[error("reading failed")]
    Read(#[source] io::Error),
    /// The object of a store cannot be read, or has changed.
    #[error("reading from its store failed")]
    Fetch(#[source] io::Error),
    /// The compressed stream is damaged or cut short.
    #[error("the compressed stream is damaged")]
    Inflate(#[source] io::Error),
    /// The stream ends inside a record.
    #[error("the stream ends inside the record: {found} bytes of {expected}")]
    Truncated {
        /// Bytes the record needs, as far as known.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// The checksum of the length does not match.
    #[error("checksum of the length is {found:#010x}, stored is {stored:#010x}")]
    LengthChecksum {
        /// In the file.
        stored: u32,
        /// Of the bytes.
        found: u32,
    },
    /// The checksum of the payload does not match.
    #[error("checksum of the payload is {found:#010x}, stored is {stored:#010x}")]
    PayloadChecksum {
        /// In the file.
        stored: u32,
        /// Of the bytes.
        found: u32,
    },
    /// The record is longer than this program accepts.
    #[error("the record declares {length} bytes, at most {limit} are accepted")]
    TooLong {
        /// Declared.
        length: u64,
        /// Accepted.
        limit: u64,
    },
    /// A feature is wider than there is memory for: the machine's fault.
    #[error(
        "there is no memory for the {values} values of feature `{feature}` that the schema declares"
    )]
    NoMemory {
        /// The name in the record.
        feature: String,
        /// The schema's length.
        values: usize,
    },
    /// A label is neither 0 nor 1.
    #[error(
        "label `{task}` is {found}, expected 0 or 1 (where numbers between are meant: tasks.{task}.soft_labels: true)"
    )]
    Label {
        /// The task.
        task: String,
        /// What it is.
        found: String,
    },
    /// A label of a task with soft labels is not from 0 to 1.
    #[error("label `{task}` is {found}, expected a number from 0 to 1")]
    SoftLabel {
        /// The task.
        task: String,
        /// What it is.
        found: String,
    },
    /// A weight is negative or not finite.
    #[error(
        "weight `{feature}` of task `{task}` is {found}, expected a finite number of at least 0"
    )]
    Weight {
        /// The name in the record.
        feature: String,
        /// The task.
        task: String,
        /// What it is.
        found: String,
    },
    /// A feature that the model reads as it is holds NaN or an infinity.
    #[error(
        "`{key}`{} is {found}, and the model reads `{feature}` as it is: expected finite numbers",
        match place { Some(place) => format!(", value {place},"), None => String::new() }
    )]
    NotFinite {
        /// The name in the record.
        key: String,
        /// Which of its values, from 0; `None` where it holds one number.
        place: Option<usize>,
        /// The name in the batch.
        feature: String,
        /// What it is.
        found: f32,
    },
    /// The payload is no tf.Example.
    #[error("could not parse the tf.Example at byte {at} of the payload: {reason}")]
    Malformed {
        /// Offset in the payload, in bytes.
        at: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// A feature has another type than the schema says.
    #[error("feature `{feature}` is a {found}, the schema says {expected}")]
    WrongType {
        /// The name in the record.
        feature: String,
        /// The schema's.
        expected: &'static str,
        /// The record's.
        found: &'static str,
    },
    /// A key that is a column holds no numbers.
    #[error("`{key}` holds strings, and a column takes a number: write it as one")]
    NoNumber {
        /// The name in the record.
        key: String,
    },
    /// A key that is a column holds several numbers, or none.
    #[error("`{key}` has {found} values, and a column takes one: a list is a feature of its own")]
    NotOne {
        /// The name in the record.
        key: String,
        /// How many.
        found: usize,
    },
    /// A key that is a column of `discrete` holds a fraction.
    #[error("`{key}` is {value}, and a column of `discrete` takes a whole number")]
    NotWhole {
        /// The name in the record.
        key: String,
        /// Its value.
        value: f32,
    },
    /// A key that is a column is not there.
    #[error("there is no `{key}`, and `seg_dense_schema.columns.missing` is `error`")]
    NoColumn {
        /// The name in the record.
        key: String,
    },
    /// A label or a weight is not there, and no value can stand for it.
    #[error("there is no `{key}`, which is a label or a weight: only features may be missing")]
    NoTarget {
        /// The name in the record.
        key: String,
    },
    /// A feature has another number of values than the schema says.
    #[error("feature `{feature}` has {found} values, the schema says {expected}")]
    WrongLength {
        /// The name in the record.
        feature: String,
        /// The schema's.
        expected: usize,
        /// The record's.
        found: usize,
    },
}

impl DataError {
    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Setting { .. }
            | Self::Pattern { .. }
            | Self::Support { .. }
            | Self::NotInSchema { .. }
            | Self::OneKeyPerColumn(_) => Fault::Config,
            Self::CacheFolder(error) if error.is_config() => Fault::Config,
            Self::Remote { source, .. } => match source {
                RemoteError::Address { .. } | RemoteError::Store(_) => Fault::Config,
                RemoteError::Thread(_) => Fault::Machine,
                _ => Fault::Data,
            },
            Self::Record { source, .. } if !source.is_of_machine() => Fault::Data,
            Self::NoFiles { .. }
            | Self::MissingFolders { .. }
            | Self::NoRecords(_)
            | Self::Foreign { .. }
            | Self::NotRegular { .. }
            | Self::Empty { .. } => Fault::Data,
            Self::Record { .. } | Self::CacheFolder(_) | Self::Io { .. } | Self::Thread { .. } => {
                Fault::Machine
            }
        }
    }

    /// Whether it is a damaged record, or file, that may be passed over. A store that does not answer is not: what it
    /// holds may be whole.
    pub(crate) fn is_damage(&self) -> bool {
        let is_fetch = matches!(
            self,
            Self::Record {
                source: RecordError::Fetch(_),
                ..
            }
        );
        self.fault() == Fault::Data && !is_fetch
    }

    pub(crate) fn setting(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Setting {
            key: key.into(),
            reason: reason.into(),
        }
    }
}

impl RecordError {
    /// Whether the record may be as it should be.
    fn is_of_machine(&self) -> bool {
        matches!(self, Self::Read(_) | Self::NoMemory { .. })
    }
}

fn list(paths: &[PathBuf]) -> String {
    let shown: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
    shown.join(", ")
}
