//! Inflates pages to so many bytes and no more, whatever their headers claim and however well they are compressed.
//!
//! The Parquet crate makes room for what a header claims, up to 2 GiB, and inflates some codecs without an end.

use std::io::{self, Read};

use ::parquet::basic::Compression;
use ::parquet::errors::{ParquetError, Result};
use brotli_decompressor::Decompressor;
use flate2::read::MultiGzDecoder;
use lz4_flex::block::DecompressError;
use lz4_flex::frame::FrameDecoder;

/// A page has no more bytes than this; writers begin a new one after 1 MiB, or some MiB of long texts.
const MAX_PAGE_BYTES: usize = 1 << MAX_PAGE_LOG;
const MAX_PAGE_LOG: u32 = 27;
/// A byte of LZ4 stands for no more bytes than this.
const MAX_LZ4_RATIO: usize = 255;
/// Bytes that are taken from a decoder of brotli at a time.
const BROTLI_BUFFER: usize = 1 << 14;

/// The bytes that `packed` stands for.
///
/// # Errors
/// When it is damaged, stands for more than [`MAX_PAGE_BYTES`], or its codec is not known.
pub(super) fn inflate(codec: Compression, packed: &[u8]) -> Result<Vec<u8>> {
    // A page without values has nothing to compress.
    if packed.is_empty() {
        return Ok(Vec::new());
    }
    match codec {
        Compression::UNCOMPRESSED => Ok(packed.to_vec()),
        Compression::SNAPPY => snappy(packed),
        Compression::GZIP(_) => all(MultiGzDecoder::new(packed)),
        Compression::BROTLI(_) => all(Decompressor::new(packed, BROTLI_BUFFER)),
        Compression::ZSTD(_) => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
            decoder.window_log_max(MAX_PAGE_LOG)?;
            all(decoder)
        }
        Compression::LZ4_RAW => block(packed),
        Compression::LZ4 => lz4(packed),
        Compression::LZO => Err(damaged(
            "it is compressed with LZO, which is not supported: write it with another codec",
        )),
    }
}

fn damaged(reason: &str) -> ParquetError {
    ParquetError::General(reason.to_owned())
}

fn too_large() -> ParquetError {
    damaged("a page is larger than 128 MiB: write the file with smaller pages")
}

/// Everything that `decoder` yields.
fn all(decoder: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    decoder
        .take(MAX_PAGE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() > MAX_PAGE_BYTES {
        return Err(too_large());
    }
    Ok(bytes)
}

fn snappy(packed: &[u8]) -> Result<Vec<u8>> {
    if snap::raw::decompress_len(packed).map_err(io::Error::from)? > MAX_PAGE_BYTES {
        return Err(too_large());
    }
    let bytes = snap::raw::Decoder::new().decompress_vec(packed);
    Ok(bytes.map_err(io::Error::from)?)
}

/// A block of LZ4, which does not say how long it becomes.
fn block(packed: &[u8]) -> Result<Vec<u8>> {
    let most = packed.len().saturating_mul(MAX_LZ4_RATIO);
    let mut room = packed.len().saturating_mul(4);
    loop {
        let mut bytes = vec![0; room.min(MAX_PAGE_BYTES)];
        match lz4_flex::block::decompress_into(packed, &mut bytes) {
            Ok(length) => {
                bytes.truncate(length);
                return Ok(bytes);
            }
            Err(DecompressError::OutputTooSmall { .. }) if room >= MAX_PAGE_BYTES => {
                return Err(too_large());
            }
            Err(DecompressError::OutputTooSmall { .. }) if room < most => room *= 4,
            Err(error) => return Err(ParquetError::External(error.into())),
        }
    }
}

/// The old codec LZ4: blocks with their lengths as Hadoop writes them, a frame, or one block.
fn lz4(packed: &[u8]) -> Result<Vec<u8>> {
    if let Some(bytes) = hadoop(packed) {
        return Ok(bytes);
    }
    all(FrameDecoder::new(packed)).or_else(|_| block(packed))
}

/// Blocks, each behind its length and that of its bytes.
fn hadoop(mut packed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while !packed.is_empty() {
        let (length, rest) = number(packed)?;
        let (size, rest) = number(rest)?;
        let (block, rest) = rest.split_at_checked(size)?;
        let begin = bytes.len();
        let is_possible = length <= size.saturating_mul(MAX_LZ4_RATIO);
        if !is_possible || length > MAX_PAGE_BYTES - begin {
            return None;
        }
        bytes.resize(begin + length, 0);
        let written = lz4_flex::block::decompress_into(block, &mut bytes[begin..]);
        if written.ok()? != length {
            return None;
        }
        packed = rest;
    }
    Some(bytes)
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((usize::try_from(u32::from_be_bytes(*number)).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const TEXT: &[u8] = b"every codec gives back what was put in: put in, put in, put in";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn framed(block: &[u8], length: usize) -> Vec<u8> {
        let numbers = [length, block.len()].map(|n| u32::try_from(n).unwrap().to_be_bytes());
        [numbers.as_flattened(), block].concat()
    }

    #[test]
    fn what_was_compressed_comes_back() {
        let block = lz4_flex::block::compress(TEXT);
        let mut frame = lz4_flex::frame::FrameEncoder::new(Vec::new());
        frame.write_all(TEXT).unwrap();
        let snappy = snap::raw::Encoder::new().compress_vec(TEXT).unwrap();
        let zstd = zstd::encode_all(TEXT, 3).unwrap();
        for (codec, packed) in [
            (Compression::UNCOMPRESSED, TEXT.to_vec()),
            (Compression::SNAPPY, snappy),
            (Compression::GZIP(Default::default()), gzip(TEXT)),
            (Compression::ZSTD(Default::default()), zstd),
            (Compression::LZ4_RAW, block.clone()),
            (Compression::LZ4, block.clone()),
            (Compression::LZ4, framed(&block, TEXT.len())),
            (Compression::LZ4, frame.finish().unwrap()),
        ] {
            assert_eq!(inflate(codec, &packed).unwrap(), TEXT, "{codec}");
            assert!(inflate(codec, &[]).unwrap().is_empty());
        }
        // Far more than its first guess.
        let zeros = vec![0; 1 << 20];
        let packed = lz4_flex::block::compress(&zeros);
        assert_eq!(inflate(Compression::LZ4_RAW, &packed).unwrap(), zeros);
    }

    #[test]
    fn pages_do_not_grow_without_an_end() {
        let zeros = vec![0; MAX_PAGE_BYTES + 1];
        // A varint of 2^31, and nothing behind it.
        let snappy = [0x80, 0x80, 0x80, 0x80, 8];
        for (codec, packed) in [
            (Compression::SNAPPY, snappy.to_vec()),
            (Compression::GZIP(Default::default()), gzip(&zeros)),
            (
                Compression::ZSTD(Default::default()),
                zstd::encode_all(&zeros[..], 1).unwrap(),
            ),
            (Compression::LZ4_RAW, lz4_flex::block::compress(&zeros)),
        ] {
            let message = inflate(codec, &packed).unwrap_err().to_string();
            assert!(
                message.contains("larger than 128 MiB"),
                "{codec}: {message}"
            );
        }
    }

    #[test]
    fn what_is_no_compressed_page_is_refused() {
        for codec in [
            Compression::SNAPPY,
            Compression::GZIP(Default::default()),
            Compression::BROTLI(Default::default()),
            Compression::ZSTD(Default::default()),
            Compression::LZ4_RAW,
            Compression::LZ4,
            Compression::LZO,
        ] {
            assert!(inflate(codec, &[0xff; 40]).is_err(), "{codec}");
        }
        assert_eq!(hadoop(&framed(&[0; 4], usize::MAX >> 33)), None);
        assert_eq!(hadoop(&[0; 9]), None);
    }
}
