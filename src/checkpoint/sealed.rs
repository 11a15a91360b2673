//! JSON text whose last key is the checksum of all text before it: every bit of it is covered.

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

/// Before the 32 digits.
const BEFORE: &str = ",\n  \"checksum\": \"";
/// After them.
const AFTER: &str = "\"\n}\n";
const DIGITS: usize = 32;

/// Whether a text is as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seal {
    /// It is.
    Holds,
    /// It has a checksum that is not its own.
    Broken,
    /// It has none at its end.
    Missing,
}

/// `object` as indented JSON with its checksum.
///
/// # Errors
/// When it cannot be written as JSON.
pub(super) fn seal(object: &impl Serialize) -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(object)?;
    if let Some(body) = text.strip_suffix("\n}") {
        text.truncate(body.len());
    }
    let checksum = xxh3_128(text.as_bytes());
    text.push_str(&format!("{BEFORE}{checksum:0DIGITS$x}{AFTER}"));
    Ok(text)
}

/// Compares a text with its checksum.
pub(super) fn check(text: &[u8]) -> Seal {
    let end = BEFORE.len() + DIGITS + AFTER.len();
    let Some((body, end)) = text.len().checked_sub(end).map(|at| text.split_at(at)) else {
        return Seal::Missing;
    };
    let digits = end
        .strip_prefix(BEFORE.as_bytes())
        .and_then(|rest| rest.strip_suffix(AFTER.as_bytes()));
    match digits {
        None => Seal::Missing,
        Some(digits) if format!("{:0DIGITS$x}", xxh3_128(body)).as_bytes() == digits => Seal::Holds,
        Some(_) => Seal::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_sealed_text_is_json_and_every_flipped_bit_of_it_is_seen() {
        for object in [json!({ "a": { "b": [1, {}] } }), json!({ "a": "}\n" })] {
            let text = seal(&object).unwrap();
            let read: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(read["a"], object["a"]);
            assert_eq!(check(text.as_bytes()), Seal::Holds);
            for bit in 0..text.len() * 8 {
                let mut bad = text.clone().into_bytes();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(check(&bad), Seal::Holds, "bit {bit}");
            }
        }
    }

    #[test]
    fn a_text_that_is_cut_or_without_a_checksum_has_none() {
        let text = seal(&json!({ "a": 1 })).unwrap();
        for length in 0..text.len() {
            assert_eq!(check(&text.as_bytes()[..length]), Seal::Missing, "{length}");
        }
        assert_eq!(check(b"{\"a\": 1}"), Seal::Missing);
    }
}
