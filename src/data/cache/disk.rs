//! Decoded rows in files of a folder, so that a later run reads them too: one file of rows for each data file.
//!
//! A file of rows appears under its name only when it is complete, and every block of it has a checksum. So whatever
//! ends a run, the next one finds whole files or none; what is damaged afterwards is noticed, and read from the data.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_64;

use super::block::RowBlock;
use super::bytes::{parse, serialise};
use super::store::{FileKey, Version};
use crate::data::columns::Spec;
use crate::data::error::DataError;
use crate::data::example::Layout;
use crate::data::payload::{Block, Payload, Source};
use crate::data::source;
use crate::whole_file::{self, Draft};

/// Changes with the form of the files.
const MAGIC: [u8; 8] = *b"RECAPRW1";
/// Of complete files.
const SUFFIX: &str = ".rows";
const BUFFER_BYTES: usize = 512 * 1024;
/// No block that was written is longer.
const MAX_BLOCK_BYTES: u64 = 1 << 31;

/// A folder of decoded rows.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    path: Arc<Path>,
    /// Of everything that rows depend on beside the data file.
    layout: [u8; 32],
}

impl Folder {
    /// Makes the folder if need be, and removes what killed runs left unfinished. Rows are those of `layout`.
    pub(crate) fn open(
        path: &Path,
        layout: &Layout,
        skip_damaged: bool,
    ) -> Result<Self, DataError> {
        whole_file::make_folder(path).map_err(|error| DataError::CacheFolder(Box::new(error)))?;
        whole_file::remove_leftovers(path, None);
        // Labels and weights are looked at before rows are kept, so that what they may be belongs to them.
        let (specs, targets) = (&layout.specs, &layout.targets);
        let layout = format!("{MAGIC:?} {skip_damaged} {specs:?} {targets:?}");
        let layout = Sha256::digest(layout.as_bytes());
        Ok(Self {
            path: path.into(),
            layout: layout.into(),
        })
    }

    /// The kept rows of a file as it is now, from record `start` on.
    pub(crate) fn get(&self, key: &FileKey, start: u64) -> Option<KeptReader> {
        let path = self.path_of(key, Version::of(&key.0)?);
        let file = File::open(&path).ok()?;
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
        let mut magic = [0; 8];
        if reader.read_exact(&mut magic).is_err() || magic != MAGIC {
            return None;
        }
        Some(KeptReader {
            data: Arc::clone(&key.0),
            path,
            reader,
            next: start,
            blocks: 0,
        })
    }

    /// Begins to keep a file, before it is opened; `None` if the folder cannot be written.
    pub(crate) fn begin(&self, key: &FileKey) -> Option<RowWriter> {
        let version = Version::of(&key.0)?;
        let path = self.path_of(key, version);
        match RowWriter::create(&path, key, version) {
            Ok(writer) => Some(writer),
            Err(error) => {
                warn(&path, &error);
                None
            }
        }
    }

    fn path_of(&self, (path, share): &FileKey, version: Version) -> PathBuf {
        let full = source::absolute(path);
        let mut digest = Sha256::new();
        digest.update(self.layout);
        digest.update(format!("{share:?} {version:?} "));
        digest.update(full.as_os_str().as_encoded_bytes());
        let digest = digest.finalize();
        let name: String = digest[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.path.join(name + SUFFIX)
    }
}

fn warn(path: &Path, error: &io::Error) {
    tracing::warn!(file = %path.display(), error = %error, "decoded rows of a file cannot be kept: it is read again in the next epoch");
}

/// Writes the rows of one file. Dropped before its end, it leaves nothing.
#[derive(Debug)]
pub(crate) struct RowWriter {
    draft: Draft,
    file: BufWriter<File>,
    path: PathBuf,
    data: Arc<Path>,
    version: Version,
    blocks: u64,
}

impl RowWriter {
    fn create(path: &Path, key: &FileKey, version: Version) -> io::Result<Self> {
        let (draft, file) = Draft::file_in_clean_folder(path)?;
        let mut file = BufWriter::with_capacity(BUFFER_BYTES, file);
        file.write_all(&MAGIC)?;
        Ok(Self {
            draft,
            file,
            path: path.to_owned(),
            data: Arc::clone(&key.0),
            version,
            blocks: 0,
        })
    }

    /// Takes in the next block of the file; whether it could.
    pub(crate) fn add(&mut self, block: &Block) -> bool {
        let Some(rows) = &block.rows else {
            return block.records.is_empty();
        };
        let written = self.write(&serialise(rows, &block.records));
        self.blocks += 1;
        match written {
            Ok(()) => true,
            Err(error) => {
                warn(&self.path, &error);
                false
            }
        }
    }

    /// A block is its length, its checksum and its bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(&(bytes.len() as u64).to_le_bytes())?;
        self.file.write_all(&xxh3_64(bytes).to_le_bytes())?;
        self.file.write_all(bytes)
    }

    /// The data file has been read to its end: its rows get their name.
    pub(crate) fn finish(mut self) {
        // At the end stand a length of zero and the number of blocks.
        let end = [[0; 8], self.blocks.to_le_bytes()].concat();
        let written = self.file.write_all(&end);
        let written = written.and_then(|()| self.file.flush());
        if Version::of(&self.data) != Some(self.version) {
            return;
        }
        match written.and_then(|()| self.draft.publish_unsynced()) {
            Ok(()) => tracing::debug!(data = %self.data.display(), "decoded rows are kept on disk"),
            Err(error) => warn(&self.path, &error),
        }
    }
}

/// Reads kept rows of one file.
#[derive(Debug)]
pub(crate) struct KeptReader {
    data: Arc<Path>,
    path: PathBuf,
    reader: BufReader<File>,
    /// Records before this one are passed over.
    next: u64,
    blocks: u64,
}

impl KeptReader {
    /// The records of the next block, none at the end.
    ///
    /// # Errors
    /// With the record to read the data file from: what follows here is damaged, and has been removed.
    pub(crate) fn read(&mut self, specs: &[Spec]) -> Result<Option<Vec<Payload>>, u64> {
        loop {
            let records = match self.block(specs) {
                Ok(Some(records)) => records,
                Ok(None) => return Ok(None),
                Err(error) => {
                    tracing::warn!(file = %self.path.display(), data = %self.data.display(), error = %error,
                        "kept rows are damaged: they are removed, and the data is read instead");
                    drop(std::fs::remove_file(&self.path));
                    return Err(self.next);
                }
            };
            let first = records.partition_point(|record| record.record < self.next);
            if let Some(last) = records[first..].last() {
                self.next = last.record + 1;
                return Ok(Some(records.into_iter().skip(first).collect()));
            }
        }
    }

    fn block(&mut self, specs: &[Spec]) -> io::Result<Option<Vec<Payload>>> {
        let damaged = |reason| io::Error::new(io::ErrorKind::InvalidData, reason);
        let mut head = [0; 16];
        self.reader.read_exact(&mut head)?;
        let [length, checksum] =
            [&head[..8], &head[8..]].map(|bytes| bytes.try_into().map_or(0, u64::from_le_bytes));
        if length == 0 {
            // The end says how many blocks there are.
            return if checksum == self.blocks {
                Ok(None)
            } else {
                Err(damaged("blocks are missing"))
            };
        }
        self.blocks += 1;
        if length > MAX_BLOCK_BYTES {
            return Err(damaged("the length of a block is damaged"));
        }
        let mut bytes = Vec::new();
        // Memory follows the bytes that came, not the length that was declared.
        let read = self.reader.by_ref().take(length).read_to_end(&mut bytes)?;
        if read as u64 != length || xxh3_64(&bytes) != checksum {
            return Err(damaged("the checksum of a block does not match"));
        }
        let (block, places) =
            parse(&bytes, specs).ok_or_else(|| damaged("a block has another form"))?;
        Ok(Some(payloads(&self.data, &Arc::new(block), &places)))
    }
}

/// Where a record lies in its file: its number, its start in the uncompressed stream, its length.
pub(super) type Place = (u64, u64, usize);

/// The records whose rows are in `block`, in its order.
pub(super) fn payloads(path: &Arc<Path>, block: &Arc<RowBlock>, places: &[Place]) -> Vec<Payload> {
    let payload = |(row, &(record, offset, len))| Payload {
        source: Source::Row {
            block: Arc::clone(block),
            row,
        },
        len,
        path: Arc::clone(path),
        record,
        offset,
    };
    places.iter().enumerate().map(payload).collect()
}
