//! TFRecord files: framing, checksums, compression.
//!
//! A record is a little-endian u64 length, the masked CRC32C of those 8 bytes, the payload, and its masked CRC32C.

mod chunk;
mod inflate;
mod read;
mod write;

pub(crate) use chunk::{Chunk, ChunkPool};
pub use inflate::uncompressed;
pub(crate) use read::{Block, ReadOptions, RecordReader, Share};
pub use write::Compression;
pub(crate) use write::RecordWriter;

/// Bytes before the payload.
const HEADER_BYTES: usize = 12;
/// Bytes after the payload.
const FOOTER_BYTES: usize = 4;

/// The CRC32C of `bytes`, masked as TFRecord stores it.
fn masked_crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}
