//! TFRecord files: framing, checksums, compression.
//!
//! A record is a little-endian u64 length, the masked CRC32C of those 8 bytes, the payload, and its masked CRC32C.

mod foreign;
mod gzip;
mod inflate;
mod read;
mod write;

use crc_fast::CrcAlgorithm;

pub use foreign::Foreign;
pub use inflate::uncompressed;
pub(crate) use read::{Frame, MAX_RECORD_BYTES, ReadOptions, RecordReader, Share, try_records};
pub use write::Compression;
pub(crate) use write::RecordWriter;

/// Bytes before the payload.
const HEADER_BYTES: usize = 12;
/// Bytes after the payload.
const FOOTER_BYTES: usize = 4;

/// The CRC32C of `bytes`, masked as TFRecord stores it.
fn masked_crc32c(bytes: &[u8]) -> u32 {
    let crc = crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes);
    #[allow(clippy::cast_possible_truncation, reason = "32 bits in the lower half")]
    let crc = crc as u32;
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}
