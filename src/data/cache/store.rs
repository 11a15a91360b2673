//! The decoded files that are kept in memory, and whether a file is still the one that was decoded.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::RowBlock;
use super::disk::{Place, payloads};
use crate::data::payload::{Block, Payload};
pub(super) use crate::data::source::Version;
use crate::data::tfrecord::Share;

/// What a decoded file is known by.
pub(crate) type FileKey = (Arc<Path>, Share);

/// Rows of one block of a file, and where each came from.
#[derive(Debug)]
pub(crate) struct CachedBlock {
    rows: Arc<RowBlock>,
    places: Vec<Place>,
}

impl CachedBlock {
    /// Bytes of memory.
    fn size(&self) -> usize {
        size_of::<Self>() + self.rows.size() + self.places.capacity() * size_of::<Place>()
    }

    /// The records from number `start` on.
    pub(crate) fn payloads(&self, path: &Arc<Path>, start: u64) -> Vec<Payload> {
        let mut records = payloads(path, &self.rows, &self.places);
        records.retain(|record| record.record >= start);
        records
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
    bytes: usize,
}

impl Filling {
    /// Before the file is opened.
    pub(crate) fn begin(key: FileKey) -> Self {
        let file = Version::of(&key.0).map(|version| CachedFile {
            blocks: Vec::new(),
            version,
        });
        Self {
            key,
            file,
            bytes: 0,
        }
    }

    /// Whether the file can still be kept.
    pub(crate) fn is_fit(&self) -> bool {
        self.file.is_some()
    }

    /// Takes in what was read next. Only whole good files are kept: what ends in an error must end so again.
    fn add(&mut self, block: &Block) {
        match (&mut self.file, &block.rows) {
            _ if block.failure.is_none() && block.records.is_empty() => {}
            (Some(file), Some(rows)) if block.failure.is_none() => {
                let places = block.records.iter();
                let kept = CachedBlock {
                    rows: Arc::clone(rows),
                    places: places.map(|p| (p.record, p.offset, p.len)).collect(),
                };
                self.bytes += kept.size();
                file.blocks.push(kept);
            }
            _ => self.file = None,
        }
    }
}

/// The files that are kept, in no more than a given number of bytes.
#[derive(Debug)]
pub(crate) struct Store {
    files: HashMap<FileKey, Arc<CachedFile>>,
    /// Of the files that are kept and of those that are being read.
    bytes: usize,
    limit: usize,
    is_full: bool,
}

impl Store {
    /// Room for `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            files: HashMap::new(),
            bytes: 0,
            limit,
            is_full: false,
        }
    }

    /// The decoded file, unless it has been changed since.
    pub(crate) fn get(&mut self, key: &FileKey) -> Option<Arc<CachedFile>> {
        let file = self.files.get(key)?;
        // What a file is now may not be known: reading it will say why.
        if Version::of(&key.0)? == file.version {
            return Some(Arc::clone(file));
        }
        tracing::warn!(file = %key.0.display(), "the file has changed and is decoded anew");
        self.bytes -= file.size();
        self.files.remove(key);
        None
    }

    /// Whether another file may be kept.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes < self.limit
    }

    /// Takes in the next block of a file; drops the file if there is no room for it.
    pub(crate) fn add(&mut self, filling: &mut Filling, block: &Block) {
        let before = filling.bytes;
        filling.add(block);
        self.bytes += filling.bytes - before;
        if self.bytes > self.limit {
            filling.file = None;
            if !std::mem::replace(&mut self.is_full, true) {
                tracing::warn!(
                    files = self.files.len(),
                    bytes = self.limit,
                    "the cache is full: further files are read again in every epoch; raise cache_memory_in_mb or set \
                     cache_dir"
                );
            }
        }
        if filling.file.is_none() {
            self.bytes -= std::mem::take(&mut filling.bytes);
        }
    }

    /// Keeps a file that has been read to its end.
    pub(crate) fn insert(&mut self, filling: Filling) {
        let Filling { key, file, bytes } = filling;
        match file {
            Some(file) if Version::of(&key.0) == Some(file.version) => {
                tracing::debug!(file = %key.0.display(), bytes = self.bytes, "decoded rows are kept");
                self.files.insert(key, Arc::new(file));
            }
            _ => self.bytes -= bytes,
        }
    }
}

impl CachedFile {
    fn size(&self) -> usize {
        self.blocks.iter().map(CachedBlock::size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::HostValues;
    use crate::data::columns::Column;

    /// More than a block takes beside its values.
    const OVERHEAD: usize = 1000;

    /// A block of one row of `len` bytes.
    fn block(path: &Arc<Path>, len: usize) -> Block {
        let values = HostValues::I64(
            (0..i64::try_from(len).unwrap())
                .map(|n| n % 100 + 1)
                .collect(),
        );
        let rows = Arc::new(RowBlock::pack(vec![Column { values, ends: None }]));
        assert!((len..len + OVERHEAD).contains(&rows.size()));
        Block {
            records: payloads(path, &rows, &[(0, 0, 1)]),
            rows: Some(rows),
            ..Block::default()
        }
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let folder = tempfile::tempdir().unwrap();
        let key = |name: &str| -> FileKey {
            let path = folder.path().join(name);
            std::fs::write(&path, "data").unwrap();
            (Arc::from(path), Share { first: 0, step: 1 })
        };
        let mut store = Store::new(1_000_000 + 3 * OVERHEAD);
        let mut keep = |key: &FileKey, lengths: &[usize]| {
            let mut filling = Filling::begin(key.clone());
            for &len in lengths {
                store.add(&mut filling, &block(&key.0, len));
            }
            store.insert(filling);
            let about = store.bytes / 100_000;
            (store.get(key).is_some(), about, store.has_room())
        };
        assert_eq!(keep(&key("a"), &[300_000, 300_000]), (true, 6, true));
        assert_eq!(keep(&key("b"), &[300_000, 200_000]), (false, 6, true));
        assert_eq!(keep(&key("c"), &[400_000 + OVERHEAD]), (true, 10, true));
        assert_eq!(keep(&key("d"), &[2 * OVERHEAD]), (false, 10, true));
        let changed = (
            Arc::from(folder.path().join("a")),
            Share { first: 0, step: 1 },
        );
        std::fs::write(&changed.0, "data that has grown").unwrap();
        assert!(store.get(&changed).is_none());
        assert_eq!(store.bytes / 100_000, 4);
    }

    #[test]
    fn what_a_block_takes_beside_its_values_counts() {
        let path: Arc<Path> = Path::new("a").into();
        let small = block(&path, 1);
        let mut filling = Filling::begin((Arc::clone(&path), Share { first: 0, step: 1 }));
        filling.file = Some(CachedFile {
            blocks: Vec::new(),
            version: Version::of(Path::new("/")).unwrap(),
        });
        filling.add(&small);
        let least = size_of::<CachedBlock>() + size_of::<RowBlock>() + size_of::<Place>();
        assert!(filling.bytes > least, "{}", filling.bytes);
    }
}
