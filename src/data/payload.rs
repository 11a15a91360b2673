//! One record on its way into a batch: as it lay in its file, or decoded already.

use std::path::Path;
use std::sync::Arc;

use super::cache::RowBlock;
use super::error::{DataError, RecordError};
use super::tfrecord::Chunk;

/// One record, and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    pub(crate) source: Source,
    /// Bytes of the serialised example.
    pub(crate) len: usize,
    /// The file.
    pub(crate) path: Arc<Path>,
    /// Number in the file, from 0.
    pub(crate) record: u64,
    /// Start of the record in the uncompressed stream, in bytes.
    pub(crate) offset: u64,
}

/// What a record is read from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A serialised example.
    Wire {
        /// Holds it.
        chunk: Arc<Chunk>,
        /// Where it begins.
        begin: usize,
    },
    /// A decoded row.
    Row {
        /// Holds it.
        block: Arc<RowBlock>,
        /// Its number in the block.
        row: usize,
    },
}

impl Payload {
    /// Wraps what is wrong with this record.
    pub(crate) fn error(&self, source: RecordError) -> DataError {
        DataError::Record {
            path: Arc::clone(&self.path),
            record: self.record,
            offset: self.offset,
            source,
        }
    }
}
