//! The decoded files that are kept in memory, and whether a file is still the one that was decoded.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::RowBlock;
use crate::data::payload::{Payload, Source};
use crate::data::source::Version;
use crate::data::tfrecord::{Block, Share};

/// What a decoded file is known by.
pub(crate) type FileKey = (Arc<Path>, Share);

/// Rows of one block of a file, and where each came from.
#[derive(Debug)]
pub(crate) struct CachedBlock {
    rows: Arc<RowBlock>,
    /// Number in the file, start in the uncompressed stream and length of each record.
    places: Vec<(u64, u64, usize)>,
}

impl CachedBlock {
    /// The records from number `start` on.
    pub(crate) fn payloads(&self, path: &Arc<Path>, start: u64) -> Vec<Payload> {
        let rows = self.places.iter().enumerate();
        let payload = |(row, &(record, offset, len))| Payload {
            source: Source::Row {
                block: Arc::clone(&self.rows),
                row,
            },
            len,
            path: Arc::clone(path),
            record,
            offset,
        };
        rows.filter(|(_, place)| place.0 >= start)
            .map(payload)
            .collect()
    }
}

/// All that a file yields.
#[derive(Debug)]
pub(crate) struct CachedFile {
    pub(crate) blocks: Vec<CachedBlock>,
    version: Version,
}

/// A file that is being read for the first time.
#[derive(Debug)]
pub(crate) struct Filling {
    key: FileKey,
    /// `None` once the file turned out not to be fit for keeping.
    file: Option<CachedFile>,
}

impl Filling {
    /// Before the file is opened.
    pub(crate) fn begin(key: FileKey) -> Self {
        let file = Version::of(&key.0).map(|version| CachedFile {
            blocks: Vec::new(),
            version,
        });
        Self { key, file }
    }

    /// The file that is read.
    pub(crate) fn key(&self) -> &FileKey {
        &self.key
    }

    /// Takes in what was read next. Only whole good files are kept: what ends in an error must end so again.
    pub(crate) fn add(&mut self, block: &Block) {
        let rows = block.records.first().map(|payload| &payload.source);
        match (&mut self.file, rows) {
            (_, None) if block.failure.is_none() => {}
            (Some(file), Some(Source::Row { block: rows, .. })) if block.failure.is_none() => {
                let places = block.records.iter();
                file.blocks.push(CachedBlock {
                    rows: Arc::clone(rows),
                    places: places.map(|p| (p.record, p.offset, p.len)).collect(),
                });
            }
            _ => self.file = None,
        }
    }
}

/// The files that are kept.
#[derive(Debug, Default)]
pub(crate) struct Store {
    files: HashMap<FileKey, Arc<CachedFile>>,
    bytes: usize,
}

impl Store {
    /// The decoded file, unless it has been changed since.
    pub(crate) fn get(&mut self, key: &FileKey) -> Option<Arc<CachedFile>> {
        let file = self.files.get(key)?;
        if Version::of(&key.0).as_ref() == Some(&file.version) {
            return Some(Arc::clone(file));
        }
        tracing::warn!(file = %key.0.display(), "the file has changed and is decoded anew");
        self.files.remove(key);
        None
    }

    /// Keeps a file that has been read to its end.
    pub(crate) fn insert(&mut self, filling: Filling) {
        let Some(file) = filling.file else { return };
        let key = filling.key;
        if Version::of(&key.0).as_ref() != Some(&file.version) {
            return;
        }
        self.bytes += file
            .blocks
            .iter()
            .map(|block| block.rows.size())
            .sum::<usize>();
        tracing::debug!(file = %key.0.display(), bytes = self.bytes, "decoded rows are kept");
        self.files.insert(key, Arc::new(file));
    }
}
