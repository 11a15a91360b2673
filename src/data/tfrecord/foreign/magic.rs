//! Forms of files that show in their first bytes.

use flate2::{Decompress, FlushDecompress};

use super::Known;
use super::remedy::{CONVERT, DECOMPRESS, REMOVE, REWRITE, UNPACK};

/// Bytes that a compressed stream must yield to count as one.
const INFLATED: usize = 64;
/// A block of zeros of this size is no record: the checksum of the length 0 is not 0.
const ZEROS: usize = 64;

pub(super) const GZIP: &str = "a gzip file";

/// Where a magic stands, the magic, what has it, and what to do.
type Magic = (usize, &'static [u8], &'static str, &'static str);

const MAGICS: &[Magic] = &[
    (0, b"PAR1", "a Parquet file", CONVERT),
    (0, b"PARE", "an encrypted Parquet file", REWRITE),
    (0, b"Obj\x01", "an Avro file", REWRITE),
    (0, b"ORC", "an ORC file", REWRITE),
    (0, b"ARROW1\0\0", "an Arrow (Feather) file", REWRITE),
    (0, b"FEA1", "a Feather file", REWRITE),
    (0, b"SEQ\x06", "a Hadoop sequence file", REWRITE),
    (0, b"crc\0", "a checksum file of Hadoop", REMOVE),
    (
        0,
        &[0, 5, 0x16, 7],
        "metadata of macOS (AppleDouble)",
        REMOVE,
    ),
    (
        0,
        &[0, 5, 0x16, 0],
        "a file wrapped by macOS (AppleSingle)",
        UNPACK,
    ),
    (
        0,
        b"Bud1",
        "a folder's settings of macOS (.DS_Store)",
        REMOVE,
    ),
    (
        4,
        b"Bud1",
        "a folder's settings of macOS (.DS_Store)",
        REMOVE,
    ),
    (0, &[0x1f, 0x8b, 8], GZIP, "decompress it once"),
    (0, b"\xfd7zXZ\0", "an xz file", DECOMPRESS),
    (0, &[0x28, 0xb5, 0x2f, 0xfd], "a zstd file", DECOMPRESS),
    (0, &[4, 0x22, 0x4d, 0x18], "an lz4 file", DECOMPRESS),
    (0, &[2, 0x21, 0x4c, 0x18], "an lz4 file", DECOMPRESS),
    (0, b"\xff\x06\0\0sNaPpY", "a snappy file", DECOMPRESS),
    (0, b"\x89LZO\0\r\n\x1a\n", "an lzop file", DECOMPRESS),
    (0, b"LZIP\x01", "an lzip file", DECOMPRESS),
    (0, &[0x5d, 0, 0, 0x80, 0, 0xff], "an lzma file", DECOMPRESS),
    (
        0,
        b"PK\x03\x04",
        "a zip archive (or what is one inside: .npz, .pt, .xlsx)",
        UNPACK,
    ),
    (0, b"PK\x05\x06", "an empty zip archive", REMOVE),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (0, b"Rar!\x1a\x07", "a rar archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
    (0, b"\x93NUMPY", "a NumPy array", REWRITE),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", REWRITE),
    (0, b"SQLite format 3\0", "an SQLite database", REWRITE),
    (0, b"%PDF-", "a PDF document", REMOVE),
    (0, b"\x89PNG\r\n", "a picture (PNG)", REMOVE),
    (0, b"\xff\xd8\xff", "a picture (JPEG)", REMOVE),
    (0, b"GIF8", "a picture (GIF)", REMOVE),
    (0, b"\x7fELF", "a program", REMOVE),
    (0, b"!<arch>\n", "an archive of object files", REMOVE),
];

/// What `bytes` are, if that shows in their first ones.
pub(super) fn of(bytes: &[u8]) -> Option<Known> {
    by_magic(bytes).or_else(|| by_form(bytes))
}

fn by_magic(bytes: &[u8]) -> Option<Known> {
    let stands = |&&(at, magic, ..): &&Magic| {
        let there = bytes.get(at..at + magic.len());
        there == Some(magic)
    };
    let found = MAGICS.iter().find(stands);
    found.map(|&(_, _, what, remedy)| (what, remedy))
}

/// What has no magic of its own, or one so short that more has to fit.
fn by_form(bytes: &[u8]) -> Option<Known> {
    match *bytes {
        [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', ..]
        | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, b'r', b'E', b'8', ..] => {
            Some(("a bzip2 file", DECOMPRESS))
        }
        [0x1f, 0x9d, flags, ..] if (9..=16).contains(&(flags & 0x1f)) => {
            Some(("a file of `compress` (.Z)", DECOMPRESS))
        }
        // A protocol, then an opcode that one can begin with.
        [
            0x80,
            2..=5,
            b'}' | b']' | b')' | b'(' | b'c' | b'X' | b'J' | b'K' | 0x8a | 0x8c | 0x95,
            ..,
        ] => Some(("a Python pickle", REWRITE)),
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some(("a text in UTF-32", REWRITE)),
        [0xff, 0xfe, low, high, ..] if low != 0 && high == 0 => Some(UTF16),
        [0xfe, 0xff, 0, low, ..] if low != 0 => Some(UTF16),
        [a, b, c, d, e, f, g, h, b'{', b'"', ..]
            if u64::from_le_bytes([a, b, c, d, e, f, g, h]) <= 100_000_000 =>
        {
            Some(("a safetensors file", REWRITE))
        }
        _ if is_zlib(bytes) => Some((
            "a zlib stream (the ZLIB of TensorFlow's writer)",
            "write it with GZIP or without compression, or compress it anew with gzip or zstd",
        )),
        _ if bytes.len() >= ZEROS && bytes.iter().all(|&byte| byte == 0) => Some((
            "only zeros as far as it was looked at: room that was kept and never written",
            "copy or fetch it again",
        )),
        _ => None,
    }
}

const UTF16: Known = ("a text in UTF-16", REWRITE);

/// Whether a zlib header stands here, and what follows inflates: the header alone is two bytes of any file.
fn is_zlib(bytes: &[u8]) -> bool {
    let [cmf, flags, ..] = *bytes else {
        return false;
    };
    let is_header = cmf & 0x0f == 8
        && cmf >> 4 <= 7
        && flags & 0x20 == 0
        && u16::from_be_bytes([cmf, flags]).is_multiple_of(31);
    if !is_header {
        return false;
    }
    let mut output = [0; INFLATED];
    let mut inflate = Decompress::new(true);
    let status = inflate.decompress(bytes, &mut output, FlushDecompress::None);
    status.is_ok() && inflate.total_out() > 0
}
