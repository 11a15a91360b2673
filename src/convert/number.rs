//! Numbers that are categories: `3`, `3.0` and the float 3 are one value where a column holds numbers alone.
//!
//! A table that gains one empty cell turns its integers into floats, and every one of them would be unknown. A column
//! with any other text in it keeps every text apart: `007` and `7` are two codes, `1.10` and `1.1` two versions.

use std::borrow::Cow;
use std::collections::HashMap;

/// Whether a column of these values holds numbers alone; an empty cell is none, and none of other kinds.
pub(super) fn are_numbers<'a>(values: impl IntoIterator<Item = &'a str>) -> bool {
    let mut values = values
        .into_iter()
        .filter(|value| !value.is_empty())
        .peekable();
    values.peek().is_some() && values.all(|value| short(value).is_some())
}

/// A number as text without zeros that say nothing: `3.0` is `3`, `2.50` is `2.5`; `None` for what is no number, or
/// more than one would write: leading zeros, a plus, an exponent.
pub(super) fn short(text: &str) -> Option<Cow<'_, str>> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, rest) = digits
        .split_once('.')
        .map_or((digits, None), |(w, r)| (w, Some(r)));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || (whole.len() > 1 && whole.starts_with('0')) {
        return None;
    }
    let Some(rest) = rest else {
        return Some(if text == "-0" { "0" } else { text }.into());
    };
    // `3.` is what some writers make of 3.0.
    if !rest.is_empty() && !is_digits(rest) {
        return None;
    }
    let kept = text.trim_end_matches('0').trim_end_matches('.');
    Some(if kept == "-0" { "0" } else { kept }.into())
}

/// The counts of a column, those of one number added up where it holds numbers alone.
pub(super) fn unified(counts: HashMap<Box<str>, u64>) -> HashMap<Box<str>, u64> {
    if !are_numbers(counts.keys().map(|value| &**value)) {
        return counts;
    }
    let mut unified: HashMap<Box<str>, u64> = HashMap::with_capacity(counts.len());
    for (value, count) in counts {
        let value = short(&value).map_or_else(|| value.clone(), |short| short.into());
        *unified.entry(value).or_default() += count;
    }
    unified
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_that_say_nothing_go() {
        for (text, expected) in [
            ("3", Some("3")),
            ("3.0", Some("3")),
            ("3.", Some("3")),
            ("-3.00", Some("-3")),
            ("-0.0", Some("0")),
            ("10", Some("10")),
            ("100.0", Some("100")),
            ("2.50", Some("2.5")),
            ("0.5", Some("0.5")),
            ("12345678901234567890.0", Some("12345678901234567890")),
            ("007", None),
            ("+3", None),
            ("3e0", None),
            ("nan", None),
            ("1.2.3", None),
            (".5", None),
            ("-", None),
            ("", None),
            ("3 ", None),
        ] {
            assert_eq!(short(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn one_number_is_one_value_where_all_are_numbers() {
        let counts = |pairs: &[(&str, u64)]| {
            let pairs = pairs.iter().map(|(value, n)| (Box::from(*value), *n));
            pairs.collect::<HashMap<Box<str>, u64>>()
        };
        let mixed = counts(&[("3", 2), ("3.0", 5), ("", 1), ("2.5", 1)]);
        assert_eq!(unified(mixed), counts(&[("3", 7), ("", 1), ("2.5", 1)]));
        for codes in [
            counts(&[("007", 1), ("7", 1), ("7.0", 1)]),
            counts(&[("1.10", 1), ("1.1", 1), ("1.1.1", 1)]),
            counts(&[("", 4)]),
        ] {
            assert_eq!(unified(codes.clone()), codes);
        }
    }
}
