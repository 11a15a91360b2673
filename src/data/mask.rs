//! Column masks: one-dimensional NumPy `.npy` files whose non-zero entries are the columns to keep.

use std::path::Path;

use super::error::DataError;
use super::tfrecord::MAX_RECORD_BYTES;
use crate::regular_file;

const MAGIC: &[u8] = b"\x93NUMPY";
/// Longest header accepted, in bytes: real ones have about a hundred.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// Longest file accepted, in bytes: a value of 8 bytes for each of more columns than the longest record has bytes of.
const MAX_BYTES: u64 = 8 * MAX_RECORD_BYTES;

/// The positions of the non-zero entries of the mask in `path`, ascending.
pub(crate) fn load(path: &Path) -> Result<Vec<usize>, DataError> {
    let unusable = |reason: String| DataError::Support {
        what: "mask",
        path: path.to_owned(),
        reason,
    };
    let bytes = regular_file::read(path, MAX_BYTES);
    let bytes = bytes.map_err(|error| unusable(error.to_string()))?;
    parse(&bytes).map_err(unusable)
}

/// The same of the bytes of a file.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<usize>, String> {
    let (header, data) = split_header(bytes)?;
    let descr = value_of(header, "descr")?;
    let shape = value_of(header, "shape")?;
    let len = parse_shape(shape)?;
    let dtype = descr.trim_matches(['\'', '"']);
    let (order, kind) = match dtype.strip_prefix(['<', '>', '|', '=']) {
        Some(kind) => (&dtype[..1], kind),
        None => ("|", dtype),
    };
    let size: usize = match kind {
        "b1" | "?" | "i1" | "u1" => 1,
        "i2" | "u2" | "f2" => 2,
        "i4" | "u4" | "f4" => 4,
        "i8" | "u8" | "f8" => 8,
        _ => {
            return Err(format!(
                "values of type {dtype} are not supported, expected bool, int or float"
            ));
        }
    };
    if len.checked_mul(size) != Some(data.len()) {
        return Err(format!(
            "{} bytes of data, expected {len} values of {size} bytes",
            data.len()
        ));
    }
    let sign_byte = if order == ">" { 0 } else { size - 1 };
    let is_float = kind.starts_with('f');
    let is_zero = |value: &[u8]| {
        value.iter().enumerate().all(|(index, &byte)| {
            // The sign of a floating-point zero does not count.
            let bits = if is_float && index == sign_byte {
                byte & 0x7f
            } else {
                byte
            };
            bits == 0
        })
    };
    let values = data.chunks_exact(size).enumerate();
    Ok(values
        .filter(|(_, value)| !is_zero(value))
        .map(|(index, _)| index)
        .collect())
}

fn split_header(bytes: &[u8]) -> Result<(&str, &[u8]), String> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("not a .npy file")?;
    let (len, rest) = match rest {
        [1, _, a, b, rest @ ..] => (u32::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]), rest),
        _ => return Err("a .npy version other than 1, 2 or 3".to_owned()),
    };
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len > MAX_HEADER_BYTES {
        return Err(format!(
            "a header of {len} bytes, at most {MAX_HEADER_BYTES} are accepted"
        ));
    }
    let (header, data) = rest
        .split_at_checked(len)
        .ok_or("the header is cut short")?;
    let header = std::str::from_utf8(header).map_err(|_| "the header is not text")?;
    Ok((header, data))
}

/// The text of one value of the header, a Python dict literal.
fn value_of<'a>(header: &'a str, key: &str) -> Result<&'a str, String> {
    let missing = || format!("the header has no `{key}`");
    let at = header.find(&format!("'{key}'")).ok_or_else(missing)?;
    let rest = &header[at + key.len() + 2..];
    let value = rest
        .trim_start()
        .strip_prefix(':')
        .ok_or_else(missing)?
        .trim_start();
    let end = match value.starts_with('(') {
        true => value.find(')').map(|end| end + 1),
        false => value.find([',', '}']),
    };
    end.map(|end| value[..end].trim()).ok_or_else(missing)
}

fn parse_shape(shape: &str) -> Result<usize, String> {
    let inner = shape.strip_prefix('(').and_then(|s| s.strip_suffix(')'));
    let sizes: Vec<&str> = inner
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty())
        .collect();
    match sizes.as_slice() {
        [size] => size
            .parse()
            .map_err(|_| format!("shape {shape} is no shape")),
        _ => Err(format!("shape {shape}, expected one dimension")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(header.len()).unwrap().to_le_bytes();
        [MAGIC, &[1, 0], &length, header.as_bytes(), data].concat()
    }

    fn header(descr: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n")
    }

    #[test]
    fn non_zero_entries_are_kept_whatever_their_type() {
        let bools = npy(&header("|b1", "(4,)"), &[0, 1, 0, 1]);
        assert_eq!(parse(&bools).unwrap(), [1, 3]);
        let floats: Vec<u8> = [-0.0f32, f32::NAN, 0.0, -2.0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        assert_eq!(
            parse(&npy(&header("<f4", "(4,)"), &floats)).unwrap(),
            [1, 3]
        );
        let big: Vec<u8> = [0i64, 256].iter().flat_map(|v| v.to_be_bytes()).collect();
        assert_eq!(parse(&npy(&header(">i8", "(2,)"), &big)).unwrap(), [1]);
    }

    #[test]
    fn what_is_no_mask_is_refused() {
        for (bytes, reason) in [
            (b"not a mask at all".to_vec(), "not a .npy file"),
            (npy(&header("|b1", "(2, 2)"), &[0; 4]), "one dimension"),
            (npy(&header("|b1", "(5,)"), &[0; 4]), "expected 5 values"),
            (
                npy(&header("<i8", "(18446744073709551615,)"), &[0; 8]),
                "bytes of data",
            ),
            (npy(&header("|O", "(1,)"), &[0; 8]), "not supported"),
            (npy("{}", &[]), "no `descr`"),
            (
                MAGIC
                    .iter()
                    .copied()
                    .chain([2, 0, 255, 255, 255, 255])
                    .collect(),
                "at most",
            ),
        ] {
            let message = parse(&bytes).unwrap_err();
            assert!(message.contains(reason), "{message}");
        }
    }
}
