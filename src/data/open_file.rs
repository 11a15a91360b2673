//! A file that is open: where its records come from, and those that wait to be used.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use super::cache::{CachedFile, FileKey, Filling};
use super::epoch::EpochFile;
use super::error::DataError;
use super::payload::Payload;
use super::reader::FileReader;

/// An open file.
pub(crate) struct OpenFile {
    /// `None` while a worker has it.
    pub(crate) reader: Option<Box<FileReader>>,
    pub(crate) blocks: VecDeque<OpenBlock>,
    pub(crate) is_ended: bool,
    /// Instead of a reader: what was kept of the file in memory, its next block, and the first record wanted.
    pub(crate) cached: Option<(Arc<CachedFile>, usize, u64)>,
    /// What is to be kept in memory.
    pub(crate) filling: Option<Filling>,
    /// The file is being kept: nobody else needs to read it until that is done.
    pub(crate) keeps: Option<FileKey>,
    /// Not opened yet, because an earlier epoch is about to keep it.
    pub(crate) deferred: Option<(EpochFile, u64)>,
    path: Arc<Path>,
}

/// Records that were read at once.
pub(crate) struct OpenBlock {
    pub(crate) records: std::vec::IntoIter<Payload>,
    pub(crate) failure: Option<DataError>,
}

impl OpenFile {
    pub(crate) fn new(path: Arc<Path>) -> Self {
        Self {
            path,
            reader: None,
            blocks: VecDeque::new(),
            is_ended: false,
            cached: None,
            filling: None,
            keeps: None,
            deferred: None,
        }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// The next records that were kept in memory, if the file was.
    pub(crate) fn next_cached(&mut self) -> Option<Vec<Payload>> {
        let (file, next, start) = self.cached.as_mut()?;
        let block = file.blocks.get(*next);
        *next += 1;
        self.is_ended = block.is_none();
        block.map(|block| block.payloads(&self.path, *start))
    }
}
