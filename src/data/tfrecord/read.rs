//! Finds the records of one file, a chunk at a time, checking both checksums.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::foreign::Foreign;
use super::inflate::Stream;
use super::{FOOTER_BYTES, HEADER_BYTES, masked_crc32c};
use crate::data::error::{DataError, RecordError};
use crate::data::remote::RemoteError;
use crate::data::source::NotRegular;

/// Bytes read at once: few enough to stay in a core's own cache until they are decoded.
const CHUNK_BYTES: usize = 256 * 1024;
/// Longest record accepted, in bytes.
pub(crate) const MAX_RECORD_BYTES: u64 = 64 << 20;

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

/// The records that lie whole in one chunk.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// In file order.
    pub(crate) found: Vec<Frame>,
    /// What ended the file early; comes after `found`.
    pub(crate) failure: Option<DataError>,
    /// Damaged records that were passed over.
    pub(crate) skipped: u64,
    /// Whether the file ends here.
    pub(crate) is_last: bool,
    /// Whether it has ended without a single record, good or bad.
    pub(crate) is_empty: bool,
}

/// Where one record lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// Start of its payload in the chunk.
    pub(crate) begin: usize,
    /// Bytes of its payload.
    pub(crate) len: usize,
    /// Its number in the file.
    pub(crate) record: u64,
    /// Its start in the uncompressed stream.
    pub(crate) offset: u64,
}

/// Reads one file; opens it at the first chunk.
pub(crate) struct RecordReader {
    path: Arc<Path>,
    options: ReadOptions,
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
    pub(crate) fn new(path: Arc<Path>, options: ReadOptions) -> Self {
        Self {
            path,
            options,
            stream: None,
            carry: Vec::new(),
            record: 0,
            offset: 0,
        }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// Whether bad records are passed over.
    pub(crate) fn skips_damaged(&self) -> bool {
        self.options.skip_damaged
    }

    /// Reads the next chunk into `chunk`, whatever that held before, and finds the records in it; there may be none.
    /// After one with `is_last` there is nothing more.
    pub(crate) fn read_chunk(&mut self, chunk: &mut Vec<u8>) -> Frames {
        let mut frames = Frames::default();
        chunk.resize(CHUNK_BYTES.max(self.carry.len()), 0);
        chunk.shrink_to(2 * CHUNK_BYTES);
        if let Err(cause) = self.fill_chunk(chunk, &mut frames) {
            self.end(&mut frames, cause, chunk);
        } else {
            frames.is_empty = frames.is_last && self.record == 0;
        }
        frames
    }

    /// Ends the file at `cause`, which came up in `chunk`: an error, or one more skipped record.
    fn end(&self, frames: &mut Frames, cause: RecordError, chunk: &[u8]) {
        frames.is_last = true;
        let error = self.error(cause, chunk);
        if self.options.skip_damaged && error.is_damage() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "skipping a file, or the rest of one"
            );
            frames.skipped += 1;
        } else {
            frames.failure = Some(error);
        }
    }

    /// What went wrong with the record that `chunk` ends with; with the whole file, if it begins as no TFRecord does.
    fn error(&self, cause: RecordError, chunk: &[u8]) -> DataError {
        let is_framing = matches!(
            cause,
            RecordError::LengthChecksum { .. }
                | RecordError::Truncated { .. }
                | RecordError::Inflate(_)
        );
        let path = Arc::clone(&self.path);
        if self.offset == 0 && is_framing {
            let compression = self.stream.as_ref().and_then(|stream| stream.compression);
            if let Some(found) = Foreign::recognise(chunk, compression) {
                return DataError::Foreign { path, found };
            }
        }
        DataError::Record {
            path,
            record: self.record,
            offset: self.offset,
            source: cause,
        }
    }

    /// Ends when the chunk holds a whole record, or the stream has no more; after an error it holds what there was.
    fn fill_chunk(&mut self, chunk: &mut Vec<u8>, frames: &mut Frames) -> Result<(), RecordError> {
        let mut filled = self.carry.len();
        chunk[..filled].copy_from_slice(&self.carry);
        self.carry.clear();
        loop {
            let (read, outcome) = self.fill(&mut chunk[filled..]);
            filled += read;
            let at_end = filled < chunk.len();
            let (used, scan) = self.scan(&chunk[..filled], frames);
            let cause = match scan {
                Scan::Lost(cause) => cause,
                Scan::Cut(needed) => match outcome {
                    Err(cause) => cause,
                    Ok(()) if at_end && filled > used => RecordError::Truncated {
                        expected: needed as u64,
                        found: (filled - used) as u64,
                    },
                    Ok(()) if at_end => {
                        frames.is_last = true;
                        return Ok(());
                    }
                    // Memory follows the bytes that came, not the length that was declared.
                    Ok(()) if used == 0 => {
                        chunk.resize(chunk.len() * 2, 0);
                        continue;
                    }
                    Ok(()) => {
                        self.carry.extend_from_slice(&chunk[used..filled]);
                        return Ok(());
                    }
                },
            };
            chunk.truncate(filled);
            return Err(cause);
        }
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
        let outcome = outcome.map_err(|error| failed(error, stream.compression.is_some()));
        (filled, outcome)
    }

    /// Finds the whole records in `bytes`; how many bytes they take and why the scan stopped.
    fn scan(&mut self, bytes: &[u8], frames: &mut Frames) -> (usize, Scan) {
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
                    Ok(()) => frames.found.push(Frame {
                        begin: at + HEADER_BYTES,
                        len,
                        record: self.record,
                        offset: self.offset,
                    }),
                    Err(cause) if self.options.skip_damaged => {
                        tracing::warn!(file = %self.path.display(), record = self.record, offset = self.offset,
                            cause = %cause, "skipping a damaged record");
                        frames.skipped += 1;
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

/// Opens a data file as training does and reads its first records, as many as are read at once; whether there are any.
///
/// # Errors
/// Those that a training would end with.
pub(crate) fn try_records(path: &Arc<Path>) -> Result<bool, DataError> {
    let options = ReadOptions {
        share: Share { first: 0, step: 1 },
        start: 0,
        skip_damaged: false,
    };
    let frames = RecordReader::new(Arc::clone(path), options).read_chunk(&mut Vec::new());
    frames.failure.map_or(Ok(!frames.is_empty), Err)
}

/// Whose error it is that reading ended with.
fn failed(error: io::Error, is_compressed: bool) -> RecordError {
    let inner = error.get_ref();
    if inner.is_some_and(|inner| inner.is::<RemoteError>()) {
        RecordError::Fetch(error)
    } else if inner.is_some_and(|inner| inner.is::<NotRegular>()) {
        RecordError::Open(error)
    } else if is_compressed && error.raw_os_error().is_none() {
        // The system's own errors carry a code, those of a decompressor do not.
        RecordError::Inflate(error)
    } else {
        RecordError::Read(error)
    }
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
        RecordReader::new(Arc::from(path), options)
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
        let frames = reader(Path::new("/nowhere/gone"), all(1)).read_chunk(&mut Vec::new());
        let error = frames.failure.unwrap();
        assert_eq!(error.fault(), crate::data::Fault::Data);
        assert!(frames.is_last && error.to_string().contains("/nowhere/gone"));
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
        let (mut read, mut chunk) = (Vec::new(), Vec::new());
        loop {
            let frames = reader.read_chunk(&mut chunk);
            assert!(frames.failure.is_none());
            for Frame {
                begin, len, record, ..
            } in frames.found
            {
                let record = u8::try_from(record).unwrap();
                assert!(chunk[begin..begin + len] == payload(record));
                read.push(record);
            }
            if frames.is_last {
                break;
            }
        }
        assert_eq!(read, [2, 4, 6]);
    }
}
