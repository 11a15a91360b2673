//! Reads the records of one file, a chunk at a time, checking both checksums.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::chunk::{Chunk, ChunkPool};
use super::inflate::Stream;
use super::{FOOTER_BYTES, HEADER_BYTES, masked_crc32c};
use crate::data::error::{DataError, RecordError};
use crate::data::payload::{Payload, Source};
use crate::data::remote::RemoteError;

/// Longest record accepted, in bytes.
const MAX_RECORD_BYTES: u64 = 64 << 20;

/// Which records of a file are wanted: number `n` if `n % step == first`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Share {
    pub(crate) first: u64,
    pub(crate) step: u64,
}

/// What to read of a file, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadOptions {
    /// Which records.
    pub(crate) share: Share,
    /// Records before this one are passed over.
    pub(crate) start: u64,
    /// Pass over damaged records, counting them.
    pub(crate) skip_damaged: bool,
}

/// The records that lay whole in one chunk.
#[derive(Debug)]
pub(crate) struct Block {
    /// In file order.
    pub(crate) records: Vec<Payload>,
    /// What ended the file early; comes after `records`.
    pub(crate) failure: Option<DataError>,
    /// Damaged records that were passed over.
    pub(crate) skipped: u64,
    /// Whether the file ends here.
    pub(crate) is_last: bool,
}

/// Reads one file; opens it at the first block.
pub(crate) struct RecordReader {
    path: Arc<Path>,
    options: ReadOptions,
    pool: Arc<ChunkPool>,
    stream: Option<Stream>,
    /// Start of a record whose rest is still to come.
    carry: Vec<u8>,
    /// Number of the next record.
    record: u64,
    /// Its start in the uncompressed stream.
    offset: u64,
}

impl std::fmt::Debug for RecordReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "RecordReader({} at {})",
            self.path.display(),
            self.record
        )
    }
}

/// Where the scan of a buffer stopped.
enum Scan {
    /// A record is cut by the end of the buffer: bytes it needs in all.
    Cut(usize),
    /// The framing is lost: nothing after it can be read.
    Lost(RecordError),
}

impl RecordReader {
    pub(crate) fn new(path: Arc<Path>, options: ReadOptions, pool: Arc<ChunkPool>) -> Self {
        Self {
            path,
            options,
            pool,
            stream: None,
            carry: Vec::new(),
            record: 0,
            offset: 0,
        }
    }

    /// The next records. After a block with `is_last` there is nothing more.
    pub(crate) fn read_block(&mut self) -> Block {
        let mut block = Block {
            records: Vec::new(),
            failure: None,
            skipped: 0,
            is_last: false,
        };
        while block.records.is_empty() && !block.is_last {
            if let Err(cause) = self.read_chunk(&mut block) {
                self.end(&mut block, cause);
            }
        }
        block
    }

    /// Ends the file at `cause`: an error, or one more skipped record.
    fn end(&self, block: &mut Block, cause: RecordError) {
        block.is_last = true;
        let error = DataError::Record {
            path: Arc::clone(&self.path),
            record: self.record,
            offset: self.offset,
            source: cause,
        };
        if self.options.skip_damaged && error.is_damage() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "skipping the rest of a damaged file"
            );
            block.skipped += 1;
        } else {
            block.failure = Some(error);
        }
    }

    fn read_chunk(&mut self, block: &mut Block) -> Result<(), RecordError> {
        let mut buffer = self.pool.take();
        let mut filled = self.carry.len();
        if buffer.len() < filled {
            buffer.resize(filled, 0);
        }
        buffer[..filled].copy_from_slice(&self.carry);
        self.carry.clear();
        let mut found = Vec::new();
        // Ends when the buffer holds a whole record, or the stream has no more.
        let outcome = loop {
            let (read, outcome) = self.fill(&mut buffer[filled..]);
            filled += read;
            let at_end = filled < buffer.len();
            let (used, scan) = self.scan(&buffer[..filled], &mut found, block);
            match scan {
                Scan::Lost(cause) => break Err(cause),
                Scan::Cut(_) if outcome.is_err() => break outcome,
                Scan::Cut(needed) if at_end => {
                    block.is_last = true;
                    let left = filled - used;
                    break if left == 0 {
                        Ok(())
                    } else {
                        Err(RecordError::Truncated {
                            expected: needed as u64,
                            found: left as u64,
                        })
                    };
                }
                // Memory follows the bytes that came, not the length that was declared.
                Scan::Cut(_) if used == 0 => buffer.resize(buffer.len() * 2, 0),
                Scan::Cut(_) => {
                    self.carry.extend_from_slice(&buffer[used..filled]);
                    break Ok(());
                }
            }
        };
        let chunk = Arc::new(Chunk::new(buffer, Arc::clone(&self.pool)));
        block.records.extend(found.into_iter().map(|found| Payload {
            source: Source::Wire {
                chunk: Arc::clone(&chunk),
                begin: found.begin,
            },
            len: found.len,
            path: Arc::clone(&self.path),
            record: found.record,
            offset: found.offset,
        }));
        outcome
    }

    fn fill(&mut self, buffer: &mut [u8]) -> (usize, Result<(), RecordError>) {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => match Stream::open(&self.path) {
                Ok(stream) => self.stream.insert(stream),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return (0, Err(RecordError::Open(error)));
                }
                Err(error) => return (0, Err(failed(error, false))),
            },
        };
        let (filled, outcome) = stream.fill(buffer);
        let outcome = outcome.map_err(|error| failed(error, stream.is_compressed));
        (filled, outcome)
    }

    /// Finds the whole records in `bytes`; how many bytes they take and why the scan stopped.
    fn scan(&mut self, bytes: &[u8], found: &mut Vec<Found>, block: &mut Block) -> (usize, Scan) {
        let mut at = 0;
        loop {
            let Some(header) = bytes[at..].first_chunk::<HEADER_BYTES>() else {
                return (at, Scan::Cut(HEADER_BYTES));
            };
            let len = match payload_len(header) {
                Ok(len) => len,
                Err(cause) => return (at, Scan::Lost(cause)),
            };
            let whole = HEADER_BYTES + len + FOOTER_BYTES;
            let Some(frame) = bytes.get(at..at + whole) else {
                return (at, Scan::Cut(whole));
            };
            if self.is_wanted() {
                match check_payload(&frame[HEADER_BYTES..]) {
                    Ok(()) => found.push(Found {
                        begin: at + HEADER_BYTES,
                        len,
                        record: self.record,
                        offset: self.offset,
                    }),
                    Err(cause) if self.options.skip_damaged => {
                        tracing::warn!(file = %self.path.display(), record = self.record, offset = self.offset,
                            cause = %cause, "skipping a damaged record");
                        block.skipped += 1;
                    }
                    Err(cause) => return (at, Scan::Lost(cause)),
                }
            }
            at += whole;
            self.record += 1;
            self.offset += whole as u64;
        }
    }

    fn is_wanted(&self) -> bool {
        let Share { first, step } = self.options.share;
        self.record >= self.options.start && self.record % step == first
    }
}

/// Whose error it is that reading ended with.
fn failed(error: io::Error, is_compressed: bool) -> RecordError {
    let inner = error.get_ref();
    if inner.is_some_and(|inner| inner.is::<RemoteError>()) {
        RecordError::Fetch(error)
    } else if is_compressed && error.raw_os_error().is_none() {
        // The system's own errors carry a code, those of a decompressor do not.
        RecordError::Inflate(error)
    } else {
        RecordError::Read(error)
    }
}

/// A record in the buffer that is being filled.
struct Found {
    begin: usize,
    len: usize,
    record: u64,
    offset: u64,
}

fn payload_len(header: &[u8; HEADER_BYTES]) -> Result<usize, RecordError> {
    let [l0, l1, l2, l3, l4, l5, l6, l7, c0, c1, c2, c3] = *header;
    let stored = u32::from_le_bytes([c0, c1, c2, c3]);
    let found = masked_crc32c(&header[..8]);
    if stored != found {
        return Err(RecordError::LengthChecksum { stored, found });
    }
    let length = u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]);
    match usize::try_from(length) {
        Ok(len) if length <= MAX_RECORD_BYTES => Ok(len),
        _ => Err(RecordError::TooLong {
            length,
            limit: MAX_RECORD_BYTES,
        }),
    }
}

/// Checks a payload followed by its checksum.
fn check_payload(bytes: &[u8]) -> Result<(), RecordError> {
    let Some((payload, footer)) = bytes.split_last_chunk::<FOOTER_BYTES>() else {
        return Err(RecordError::Truncated {
            expected: FOOTER_BYTES as u64,
            found: bytes.len() as u64,
        });
    };
    let stored = u32::from_le_bytes(*footer);
    let found = masked_crc32c(payload);
    if stored == found {
        Ok(())
    } else {
        Err(RecordError::PayloadChecksum { stored, found })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Compression, RecordWriter};
    use super::*;

    fn reader(path: &Path, options: ReadOptions) -> RecordReader {
        RecordReader::new(Arc::from(path), options, Arc::default())
    }

    fn all(step: u64) -> ReadOptions {
        let share = Share { first: 0, step };
        ReadOptions {
            share,
            start: 0,
            skip_damaged: false,
        }
    }

    #[test]
    fn a_file_that_vanished_is_the_fault_of_the_data() {
        let block = reader(Path::new("/nowhere/gone"), all(1)).read_block();
        let error = block.failure.unwrap();
        assert_eq!(error.fault(), crate::data::Fault::Data);
        assert!(block.is_last && error.to_string().contains("/nowhere/gone"));
    }

    #[test]
    fn records_larger_than_a_chunk_and_shares_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        let mut writer =
            RecordWriter::new(std::fs::File::create(&path).unwrap(), Compression::Gzip).unwrap();
        let payload = |record: u8| vec![record; 300_000 * usize::from(record)];
        for record in 0..7 {
            writer.write(&payload(record)).unwrap();
        }
        writer.finish().unwrap();
        let mut reader = reader(&path, ReadOptions { start: 1, ..all(2) });
        let mut read = Vec::new();
        loop {
            let block = reader.read_block();
            assert!(block.failure.is_none());
            for found in block.records {
                let record = u8::try_from(found.record).unwrap();
                let Source::Wire { chunk, begin } = &found.source else {
                    panic!("records are read as they lie in their file");
                };
                assert!(chunk.bytes()[*begin..begin + found.len] == payload(record));
                read.push(record);
            }
            if block.is_last {
                break;
            }
        }
        assert_eq!(read, [2, 4, 6]);
    }
}
