//! Writes the records of one gzip file.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::masked_crc32c;

/// Writes framed records into a gzip stream.
#[derive(Debug)]
pub(crate) struct RecordWriter<W: Write> {
    inner: GzEncoder<W>,
}

impl<W: Write> RecordWriter<W> {
    /// Starts a gzip stream on `inner`, at its fastest level: random floats do not get smaller at a higher one.
    pub(crate) fn new(inner: W) -> Self {
        Self {
            inner: GzEncoder::new(inner, Compression::fast()),
        }
    }

    /// Appends one record.
    pub(crate) fn write(&mut self, payload: &[u8]) -> io::Result<()> {
        let length = (payload.len() as u64).to_le_bytes();
        self.inner.write_all(&length)?;
        self.inner
            .write_all(&masked_crc32c(&length).to_le_bytes())?;
        self.inner.write_all(payload)?;
        self.inner.write_all(&masked_crc32c(payload).to_le_bytes())
    }

    /// Ends the gzip stream and hands the file back.
    pub(crate) fn finish(self) -> io::Result<W> {
        self.inner.finish()
    }
}
