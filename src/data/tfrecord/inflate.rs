//! Opens a file whatever its compression, told from its first bytes; memory is bounded whatever the file says.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::gzip::{self, GzipReader};
use super::{HEADER_BYTES, masked_crc32c};
use crate::data::source::Source;

const FILE_BUFFER_BYTES: usize = 128 * 1024;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The uncompressed bytes of a file.
pub(super) struct Stream {
    reader: Box<dyn Read + Send>,
    /// The compression, damage to which may be an error of `reader`; `None`: there is none.
    pub(super) compression: Option<&'static str>,
}

impl Stream {
    /// Opens `path`, which may be an address. Uncompressed TFRecord has no magic: it is recognised by a valid record header.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file = BufReader::with_capacity(FILE_BUFFER_BYTES, Source::open(path)?);
        let start = file.fill_buf()?;
        let (reader, compression): (Box<dyn Read + Send>, _) = if is_record_header(start) {
            (Box::new(file), None)
        } else if start.starts_with(&gzip::MAGIC) {
            (Box::new(GzipReader::new(file)), Some("gzip"))
        } else if start.starts_with(&ZSTD_MAGIC) {
            (
                Box::new(zstd::stream::read::Decoder::with_buffer(file)?),
                Some("zstd"),
            )
        } else {
            (Box::new(file), None)
        };
        Ok(Self {
            reader,
            compression,
        })
    }

    /// Reads until `buffer` is full, the stream ends or fails; how many bytes came before that.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> (usize, io::Result<()>) {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.reader.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (filled, Err(error)),
            }
        }
        (filled, Ok(()))
    }
}

/// The bytes of `path` without their compression, told from its first bytes: gzip, zstd or none.
///
/// # Errors
/// When the file cannot be opened.
pub fn uncompressed(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    Ok(Stream::open(path)?.reader)
}

fn is_record_header(start: &[u8]) -> bool {
    match start.first_chunk::<HEADER_BYTES>() {
        Some(header) => masked_crc32c(&header[..8]).to_le_bytes() == header[8..],
        None => false,
    }
}
