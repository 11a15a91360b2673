//! What a file is, told from its first bytes, not from its name.

use std::path::Path;
use std::sync::Arc;

use super::error::ConvertError;
use crate::printable;

/// Bytes that are looked at.
pub(super) const SNIFFED: usize = 1 << 12;
/// How a Parquet file begins.
pub(super) const PARQUET: &[u8] = b"PAR1";

/// What a table is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    Parquet,
}

const CONVERT: &str = "write it as CSV or Parquet";
const DECOMPRESS: &str = "decompress it; gzip and zstd are read as they are";

/// Beginnings of files that are no tables here: what they are, and what to do.
const OTHERS: [(&[u8], &str, &str); 16] = [
    (b"PARE", "an encrypted Parquet file", "decrypt it"),
    (
        b"PK\x03\x04",
        "a ZIP archive, as Excel's files are",
        CONVERT,
    ),
    (b"\xd0\xcf\x11\xe0", "an old Office file", CONVERT),
    (b"BZh", "compressed with bzip2", DECOMPRESS),
    (b"\xfd7zXZ\0", "compressed with xz", DECOMPRESS),
    (b"\x04\x22\x4d\x18", "compressed with LZ4", DECOMPRESS),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", DECOMPRESS),
    (b"\x1f\x8b", "compressed twice", DECOMPRESS),
    (b"\x28\xb5\x2f\xfd", "compressed twice", DECOMPRESS),
    (b"Obj\x01", "an Avro file", CONVERT),
    (b"ARROW1\0", "an Arrow or Feather file", CONVERT),
    (b"SQLite format 3", "an SQLite database", CONVERT),
    (b"\x89HDF", "an HDF5 file", CONVERT),
    (b"\x93NUMPY", "a NumPy array", CONVERT),
    (b"%PDF", "a PDF document", CONVERT),
    (
        b"version https://git-lfs",
        "a Git LFS pointer instead of the table",
        "fetch the table: git lfs pull",
    ),
];

/// What the file `path` is that begins, uncompressed, with `start`.
pub(super) fn recognise(path: &Arc<Path>, start: &[u8]) -> Result<Format, ConvertError> {
    let wrong = |found: &str, remedy| ConvertError::NoTable {
        file: Arc::clone(path),
        found: found.to_owned(),
        remedy,
    };
    if start.starts_with(PARQUET) {
        return Ok(Format::Parquet);
    }
    let mut others = OTHERS.iter();
    if let Some((_, found, remedy)) = others.find(|(magic, ..)| start.starts_with(magic)) {
        return Err(wrong(&format!("it is {found}"), remedy));
    }
    if let Some(encoding) = wide_encoding(start) {
        let remedy = match encoding {
            "UTF-32" => "write it as UTF-8: iconv -f UTF-32 -t UTF-8",
            _ => "write it as UTF-8: iconv -f UTF-16 -t UTF-8",
        };
        return Err(wrong(&format!("its text is {encoding}"), remedy));
    }
    if let Some(place) = start.iter().position(|&byte| byte == 0) {
        let found = format!("it is no text, byte {place} is zero");
        return Err(wrong(&found, CONVERT));
    }
    let text = String::from_utf8_lossy(&start[..start.len().min(64)]).to_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if ["<!doctype", "<html", "<?xml"]
        .iter()
        .any(|sign| text.starts_with(sign))
    {
        return Err(wrong("it is an HTML or XML page", "get the table itself"));
    }
    if text.starts_with("{\"") || text.starts_with("[{") || text.starts_with("{\n") {
        return Err(wrong("it is JSON", CONVERT));
    }
    let ending = path.extension().and_then(|ending| ending.to_str());
    let ending = ending.unwrap_or_default().to_ascii_lowercase();
    if ["parquet", "parq", "pq"].contains(&ending.as_str()) {
        let begin: String = text.chars().take(16).collect();
        let found = format!(
            "it is called Parquet, but begins with `{}` instead of `PAR1`",
            printable::line(&begin)
        );
        return Err(wrong(&found, "get it anew, or call it .csv if it is CSV"));
    }
    Ok(Format::Csv)
}

/// UTF-16 or UTF-32, told from its mark or from the zeros in every character of ASCII.
fn wide_encoding(start: &[u8]) -> Option<&'static str> {
    let zeros = |rest: usize, of: usize| {
        let places = start.chunks_exact(of).take(64);
        let zeros = places.clone().filter(|places| places[rest] == 0).count();
        zeros > 1 && 2 * zeros > places.count()
    };
    match start {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some("UTF-32"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
        // Of four bytes the two in the middle are zero, whichever end comes first.
        _ if zeros(1, 4) && zeros(2, 4) => Some("UTF-32"),
        _ if zeros(1, 2) != zeros(0, 2) => Some("UTF-16"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognised(name: &str, start: &[u8]) -> Result<Format, String> {
        let path = Arc::from(Path::new(name));
        recognise(&path, start).map_err(|error| error.to_string())
    }

    #[test]
    fn bytes_decide_and_not_names() {
        assert_eq!(recognised("a.txt", b"PAR1\x15"), Ok(Format::Parquet));
        for start in [
            &b"x,y\n1,2"[..],
            b"",
            b"\xef\xbb\xbfx,y",
            b"\xe4,b\n",
            b"ORCID,x",
        ] {
            assert_eq!(recognised("a.csv", start), Ok(Format::Csv), "{start:?}");
        }
    }

    #[test]
    fn what_is_no_table_is_called_what_it_is() {
        let utf16: Vec<u8> = "x,c,y\n1,a,1"
            .encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect();
        let utf32 = |bytes: fn(u32) -> [u8; 4]| -> Vec<u8> {
            "x,c,y\n1,a,1"
                .chars()
                .flat_map(|c| bytes(c.into()))
                .collect()
        };
        for (start, expected) in [
            (
                &b"\xff\xfex\0,\0"[..],
                "a.csv: its text is UTF-16: write it as UTF-8",
            ),
            (
                &utf16,
                "its text is UTF-16: write it as UTF-8: iconv -f UTF-16",
            ),
            (
                &utf32(u32::to_be_bytes),
                "its text is UTF-32: write it as UTF-8: iconv -f UTF-32",
            ),
            (&utf32(u32::to_le_bytes), "its text is UTF-32"),
            (
                b"PK\x03\x04",
                "a ZIP archive, as Excel's files are: write it as CSV",
            ),
            (b"<!DOCTYPE html>", "an HTML or XML page"),
            (b"\xef\xbb\xbf  <html>", "an HTML or XML page"),
            (b"{\"a\": 1}", "it is JSON"),
            (
                b"version https://git-lfs.github.com/spec/v1",
                "git lfs pull",
            ),
            (b"x,y\n\x01\x00\x07\x07", "it is no text, byte 5 is zero"),
        ] {
            let message = recognised("a.csv", start).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
        let message = recognised("a.parquet", b"x,\x1by\n").unwrap_err();
        assert!(
            message.contains("begins with `x,\\x1by\\n` instead of `PAR1`"),
            "{message}"
        );
    }
}
