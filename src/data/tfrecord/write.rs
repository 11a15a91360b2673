//! Writes the records of one file.

use std::io::{self, Write};

use flate2::write::GzEncoder;

use super::masked_crc32c;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// The form the original reads.
    #[default]
    Gzip,
    /// Not at all: the fastest to read.
    None,
    /// Smaller than gzip and faster to read.
    Zstd,
}

/// Writes framed records into a file.
pub(crate) struct RecordWriter<W: Write> {
    inner: Encoder<W>,
}

/// At the usual levels, so that generated files take as long to read as real ones.
enum Encoder<W: Write> {
    Gzip(GzEncoder<W>),
    Plain(W),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> RecordWriter<W> {
    /// Starts a file on `inner`.
    pub(crate) fn new(inner: W, compression: Compression) -> io::Result<Self> {
        let inner = match compression {
            Compression::Gzip => {
                Encoder::Gzip(GzEncoder::new(inner, flate2::Compression::default()))
            }
            Compression::None => Encoder::Plain(inner),
            Compression::Zstd => Encoder::Zstd(zstd::stream::write::Encoder::new(inner, 1)?),
        };
        Ok(Self { inner })
    }

    /// Appends one record.
    pub(crate) fn write(&mut self, payload: &[u8]) -> io::Result<()> {
        let inner: &mut dyn Write = match &mut self.inner {
            Encoder::Gzip(inner) => inner,
            Encoder::Plain(inner) => inner,
            Encoder::Zstd(inner) => inner,
        };
        let length = (payload.len() as u64).to_le_bytes();
        inner.write_all(&length)?;
        inner.write_all(&masked_crc32c(&length).to_le_bytes())?;
        inner.write_all(payload)?;
        inner.write_all(&masked_crc32c(payload).to_le_bytes())
    }

    /// Ends the compressed stream and hands the file back.
    pub(crate) fn finish(self) -> io::Result<W> {
        match self.inner {
            Encoder::Gzip(inner) => inner.finish(),
            Encoder::Plain(inner) => Ok(inner),
            Encoder::Zstd(inner) => inner.finish(),
        }
    }
}
