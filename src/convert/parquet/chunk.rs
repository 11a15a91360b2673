//! The bytes of a Parquet file: ranges that are there, of a local file or of a copy of an object.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::reader::{ChunkReader, Length};
use bytes::Bytes;

use super::super::format::PARQUET;
use crate::data::{is_remote, uncompressed};

/// A file whose ranges are asked for by what it says itself, which need not be true.
#[derive(Debug)]
pub(super) struct Chunks {
    file: File,
    size: u64,
}

impl Chunks {
    /// Opens `path`. An object of a store is copied to a file without a name first, as the end is read before the rest.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = if is_remote(path) {
            let mut copy = tempfile::tempfile()?;
            io::copy(&mut uncompressed(path)?, &mut copy)?;
            copy
        } else {
            File::open(path)?
        };
        let size = file.metadata()?.len();
        let chunks = Self { file, size };
        let mut begin = [0; PARQUET.len()];
        let is_whole = size >= begin.len() as u64;
        if is_whole {
            chunks.file.read_exact_at(&mut begin, 0)?;
        }
        if !is_whole || begin != PARQUET {
            let reason = "the file itself is compressed: decompress it, Parquet compresses inside";
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(chunks)
    }

    pub(super) fn try_clone(&self) -> Result<Self> {
        let file = self.file.try_clone()?;
        Ok(Self {
            file,
            size: self.size,
        })
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.size
    }
}

/// Reads on from a place of a file, which others may read too.
#[derive(Debug)]
pub(super) struct From {
    file: File,
    at: u64,
}

impl Read for From {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<From>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        let file = self.file.try_clone()?;
        // A header is short: more would be read twice.
        Ok(BufReader::with_capacity(1 << 10, From { file, at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let end = start.checked_add(length as u64);
        if end.is_none_or(|end| end > self.size) {
            return Err(ParquetError::EOF(format!(
                "{length} bytes from byte {start} on are more than the {} that the file has",
                self.size
            )));
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}
