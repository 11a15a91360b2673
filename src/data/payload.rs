//! A record on its way into a batch, and the block of records that it was read with.

use std::path::Path;
use std::sync::Arc;

use super::cache::RowBlock;
use super::error::DataError;

/// One record, and where it came from.
#[derive(Debug)]
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

/// What a record was decoded to.
#[derive(Debug)]
pub(crate) enum Source {
    /// A row.
    Row {
        /// Holds it.
        block: Arc<RowBlock>,
        /// Its number in the block.
        row: usize,
    },
    /// No example that fits the schema: the batch that it would be in fails.
    Bad(Box<DataError>),
}

/// Records of one file that were read at once.
#[derive(Debug, Default)]
pub(crate) struct Block {
    /// In file order.
    pub(crate) records: Vec<Payload>,
    /// The rows of all records, if they were decoded just now and all of them are good: what may be kept.
    pub(crate) rows: Option<Arc<RowBlock>>,
    /// What ended the file early; comes after `records`.
    pub(crate) failure: Option<DataError>,
    /// Damaged records that were passed over.
    pub(crate) skipped: u64,
    /// Whether the file ends here.
    pub(crate) is_last: bool,
    /// Whether it has ended without a single record, good or bad.
    pub(crate) is_empty: bool,
}
