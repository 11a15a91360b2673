//! What the headers of a column's pages claim: the Parquet crate does not hand on how long a page is inflated.

use std::sync::Arc;

use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::reader::ChunkReader;

use super::chunk::Chunks;
use super::thrift::{Cursor, INTEGER};

/// Bytes of a header that are read at first; statistics make some far longer.
const SHORT: u64 = 256;

/// Fields of a header.
const KIND: i64 = 1;
const INFLATED: i64 = 2;
const STORED: i64 = 3;
/// The kind of a page that is passed over.
const INDEX: i64 = 1;

/// Walks from header to header.
#[derive(Debug)]
pub(super) struct Headers {
    chunks: Arc<Chunks>,
    at: u64,
    /// Bytes of the column from there on.
    left: u64,
}

/// What is used of a header.
#[derive(Debug, Default, PartialEq, Eq)]
struct Header {
    kind: i64,
    inflated: i64,
    stored: i64,
}

impl Headers {
    /// Those of the column that begins at byte `at` and has `left` bytes.
    pub(super) fn new(chunks: Arc<Chunks>, at: u64, left: u64) -> Self {
        Self { chunks, at, left }
    }

    /// How many bytes the next page with values claims to have when it is inflated.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn next_size(&mut self) -> Result<u64> {
        loop {
            let (header, length) = self.read()?;
            let stored = u64::try_from(header.stored)?;
            let passed = length.checked_add(stored).filter(|all| *all <= self.left);
            let passed = passed.ok_or_else(|| damaged("a page is longer than its column"))?;
            self.at += passed;
            self.left -= passed;
            if header.kind != INDEX {
                return Ok(u64::try_from(header.inflated)?);
            }
        }
    }

    /// The next header, and how long it is.
    fn read(&self) -> Result<(Header, u64)> {
        let mut room = SHORT.min(self.left);
        loop {
            let bytes = self.chunks.get_bytes(self.at, usize::try_from(room)?)?;
            if let Some((header, length)) = parse(&bytes) {
                return Ok((header, length as u64));
            }
            if room == self.left {
                return Err(damaged("the header of a page cannot be read"));
            }
            room = room.saturating_mul(16).min(self.left);
        }
    }
}

fn damaged(reason: &str) -> ParquetError {
    ParquetError::General(reason.to_owned())
}

/// The header that `bytes` begin with, and its length; `None` if it does not end in them.
fn parse(bytes: &[u8]) -> Option<(Header, usize)> {
    let mut cursor = Cursor(bytes);
    let mut header = Header::default();
    cursor.fields(0, &mut |cursor, field, kind, depth| {
        let place = match field {
            KIND => &mut header.kind,
            INFLATED => &mut header.inflated,
            STORED => &mut header.stored,
            _ => return cursor.skip(kind, depth),
        };
        if kind != INTEGER {
            return None;
        }
        *place = cursor.signed()?;
        Some(())
    })?;
    Some((header, bytes.len() - cursor.0.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A data page of 100 bytes that are 40 in the file, with a structure behind.
    const HEADER: [u8; 13] = [0x15, 0, 0x15, 200, 1, 0x15, 80, 0x2c, 0x15, 2, 0, 0, 0xff];

    #[test]
    fn sizes_are_read_and_the_rest_is_passed_over() {
        let expected = Header {
            kind: 0,
            inflated: 100,
            stored: 40,
        };
        assert_eq!(parse(&HEADER), Some((expected, HEADER.len() - 1)));
        for cut in 0..HEADER.len() - 1 {
            assert_eq!(parse(&HEADER[..cut]), None, "{cut}");
        }
        assert_eq!(parse(&[0x18, 1, 0, 0]), None, "a kind that is text");
    }
}
