//! One value of a table, and what it is as a number, an integer or text.

use std::borrow::Cow;

use super::decimal::{Decimal, Number};
use super::time::{self, Form, Time, Unit};
use crate::printable;

/// One value of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    Empty,
    Truth(bool),
    Integer(i128),
    Decimal(Decimal),
    Float(f64),
    Single(f32),
    /// Days since 1970.
    Date(i32),
    /// Since midnight.
    Clock(i64, Unit),
    /// Since 1970, in UTC.
    Instant(i64, Unit),
    Text(&'a [u8]),
}

/// What a Parquet file holds in one place.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Empty,
    Truth(bool),
    Integer(i64),
    Unsigned(u64),
    Decimal(Box<Decimal>),
    Float(f64),
    Single(f32),
    Date(i32),
    Clock(i64, Unit),
    Instant(i64, Unit),
    Text(Box<[u8]>),
}

impl Value {
    pub(super) fn cell(&self) -> Cell<'_> {
        match self {
            Self::Empty => Cell::Empty,
            Self::Truth(value) => Cell::Truth(*value),
            Self::Integer(value) => Cell::Integer(i128::from(*value)),
            Self::Unsigned(value) => Cell::Integer(i128::from(*value)),
            Self::Decimal(value) => Cell::Decimal(**value),
            Self::Float(value) => Cell::Float(*value),
            Self::Single(value) => Cell::Single(*value),
            Self::Date(days) => Cell::Date(*days),
            Self::Clock(ticks, unit) => Cell::Clock(*ticks, *unit),
            Self::Instant(ticks, unit) => Cell::Instant(*ticks, *unit),
            Self::Text(text) => Cell::Text(text),
        }
    }
}

/// A cell looked at as something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found<T> {
    /// It is empty, or says that it is no number.
    Missing,
    Is(T),
    /// It is something else.
    Not,
}

/// Integers beyond this are not told apart by a float of 64 bits, nor by one of 32.
const MAX_FLOAT: i128 = 1 << 53;
const MAX_SINGLE: i128 = 1 << 24;

impl<'a> Cell<'a> {
    /// As a finite number: a truth value is 0 or 1, a time so many seconds since 1970 or midnight.
    pub(super) fn number(self) -> Found<f64> {
        // Text is parsed as a float at once: the nearest one, and fast.
        let number = match self {
            Self::Text(text) => trimmed(text).and_then(|text| text.parse().ok()),
            other => match other.time() {
                Some(time) => Some(time.seconds()),
                None => other.exact().map(Number::to_f64),
            },
        };
        match number {
            Some(number) if number.is_nan() => Found::Missing,
            Some(number) if number.is_finite() => Found::Is(number),
            None if self == Self::Empty => Found::Missing,
            _ => Found::Not,
        }
    }

    /// As a number that is compared without rounding. A time is none.
    pub(super) fn exact(self) -> Option<Number> {
        Some(match self {
            Self::Empty | Self::Date(_) | Self::Clock(..) | Self::Instant(..) => return None,
            Self::Truth(value) => i128::from(value).into(),
            Self::Integer(value) => value.into(),
            Self::Decimal(value) => Number::Exact(value),
            Self::Float(value) => Number::Float(value),
            Self::Single(value) => Number::Single(value),
            Self::Text(text) => Number::parse(trimmed(text)?)?,
        })
    }

    /// The time of a cell that is typed as one.
    pub(super) fn time(self) -> Option<Time> {
        let of = |form, nanos| Some(Time { form, nanos });
        match self {
            Self::Date(days) => Some(Time::of_day(days)),
            Self::Clock(ticks, unit) => of(Form::Clock, unit.nanos(ticks)),
            Self::Instant(ticks, unit) => of(Form::Instant, unit.nanos(ticks)),
            _ => None,
        }
    }

    /// As an integer of 64 bits: one of a column without signs from 2^63 on by its two's complement, a whole float or
    /// decimal as what it is, a time as its microseconds.
    pub(super) fn integer(self) -> Found<i64> {
        if let Some(time) = self.time() {
            return time.micros().map_or(Found::Not, Found::Is);
        }
        // Only where nothing is negative is the other half of the integers free.
        if let Self::Integer(value) = self
            && let Ok(value) = u64::try_from(value)
        {
            return Found::Is(value.cast_signed());
        }
        let whole = match self.exact() {
            None if self == Self::Empty => return Found::Missing,
            None => None,
            Some(Number::Exact(value)) => value.integer(),
            Some(Number::Float(value)) => whole(value, MAX_FLOAT),
            Some(Number::Single(value)) => whole(f64::from(value), MAX_SINGLE),
        };
        match whole.map(i64::try_from) {
            Some(Ok(integer)) => Found::Is(integer),
            _ => Found::Not,
        }
    }

    /// Whether it is empty or says that it is no number.
    pub(super) fn is_missing(self) -> bool {
        match self {
            Self::Text(text) => {
                let word = text.trim_ascii();
                let signs = [&b"-"[..], b"+"];
                let unsigned = signs.iter().find_map(|sign| word.strip_prefix(*sign));
                text.is_empty() || unsigned.unwrap_or(word).eq_ignore_ascii_case(b"nan")
            }
            other => other == Self::Empty || other.is_nan(),
        }
    }

    /// Whether it is a float that is no number.
    pub(super) fn is_nan(self) -> bool {
        match self {
            Self::Float(value) => value.is_nan(),
            Self::Single(value) => value.is_nan(),
            _ => false,
        }
    }

    /// Whether it is a float without an end.
    pub(super) fn is_infinite(self) -> bool {
        match self {
            Self::Float(value) => value.is_infinite(),
            Self::Single(value) => value.is_infinite(),
            _ => false,
        }
    }

    /// As text, if it is UTF-8: `true`, `2024-05-31`, `12.5`; a number that is none is empty.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        Some(match self {
            Self::Empty => Cow::Borrowed(""),
            other if other.is_nan() => Cow::Borrowed(""),
            Self::Truth(value) => value.to_string().into(),
            Self::Integer(value) => value.to_string().into(),
            Self::Decimal(value) => value.text().into(),
            Self::Float(value) => value.to_string().into(),
            Self::Single(value) => value.to_string().into(),
            Self::Date(days) => time::date_text(days).into(),
            Self::Clock(ticks, unit) => time::clock_text(unit.nanos(ticks)).into(),
            Self::Instant(ticks, unit) => time::instant_text(unit.nanos(ticks)).into(),
            Self::Text(text) => return std::str::from_utf8(text).ok().map(Cow::Borrowed),
        })
    }

    /// The cell in words.
    pub(super) fn describe(self) -> String {
        match self {
            Self::Empty => "an empty cell".to_owned(),
            Self::Text(text) => {
                let text = String::from_utf8_lossy(text);
                let mut characters = text.chars();
                let shown: String = characters.by_ref().take(40).collect();
                let more = if characters.next().is_some() {
                    "…"
                } else {
                    ""
                };
                format!("`{}{more}`", printable::line(&shown))
            }
            Self::Float(value) if !value.is_finite() => value.to_string(),
            Self::Single(value) if !value.is_finite() => value.to_string(),
            other => other.text().unwrap_or_default().into_owned(),
        }
    }
}

/// `text` without the blanks around it, if it is UTF-8.
pub(super) fn trimmed(text: &[u8]) -> Option<&str> {
    std::str::from_utf8(text).ok().map(str::trim)
}

fn whole(value: f64, limit: i128) -> Option<i128> {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "what does not fit saturates, and is beyond the limit"
    )]
    let whole = value as i128;
    (value.fract() == 0.0 && (-limit..=limit).contains(&whole)).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_finite_or_missing_or_none() {
        for (text, expected) in [
            (" 1.5 ", Found::Is(1.5)),
            ("1e-50", Found::Is(1e-50)),
            ("nan", Found::Missing),
            ("-NaN", Found::Missing),
            ("inf", Found::Not),
            ("-Infinity", Found::Not),
            ("1e400", Found::Not),
            ("N/A", Found::Not),
            ("", Found::Not),
        ] {
            assert_eq!(Cell::Text(text.as_bytes()).number(), expected, "{text}");
        }
        assert_eq!(Cell::Float(f64::NAN).number(), Found::Missing);
        assert_eq!(Cell::Single(f32::INFINITY).number(), Found::Not);
        assert_eq!(Cell::Empty.number(), Found::Missing);
        assert_eq!(Cell::Truth(true).number(), Found::Is(1.0));
        assert_eq!(Cell::Date(1).number(), Found::Is(86_400.0));
        for cell in [
            Cell::Instant(1500, Unit::Millis),
            Cell::Instant(1_500_000, Unit::Micros),
            Cell::Clock(1_500_000_000, Unit::Nanos),
        ] {
            assert_eq!(cell.number(), Found::Is(1.5), "{cell:?}");
        }
        let price = Decimal::parse("12.3").unwrap();
        assert_eq!(Cell::Decimal(price).number(), Found::Is(12.3));
    }

    #[test]
    fn ids_are_integers_however_they_are_stored() {
        let text = |text: &'static str| Cell::Text(text.as_bytes());
        for (cell, expected) in [
            (text("7"), Found::Is(7)),
            (text("3.0"), Found::Is(3)),
            (text("18446744073709551615"), Found::Not),
            (text("9223372036854775807"), Found::Is(i64::MAX)),
            (text("9223372036854775808"), Found::Not),
            (text("9007199254740993.0"), Found::Is(9_007_199_254_740_993)),
            (text("18446744073709551616"), Found::Not),
            (text("3.5"), Found::Not),
            (text("nan"), Found::Not),
            (Cell::Integer(i128::from(u64::MAX)), Found::Is(-1)),
            (Cell::Float(3.0), Found::Is(3)),
            (Cell::Float(1e16), Found::Not),
            (Cell::Single(16_777_216.0), Found::Is(16_777_216)),
            (Cell::Single(16_777_218.0), Found::Not),
            (Cell::Float(f64::NAN), Found::Not),
            (Cell::Decimal(Decimal::new(70, -1)), Found::Is(7)),
            (Cell::Decimal(Decimal::new(1 << 63, 0)), Found::Not),
            (Cell::Instant(5, Unit::Millis), Found::Is(5000)),
            (Cell::Instant(5000, Unit::Micros), Found::Is(5000)),
            (Cell::Instant(5_000_000, Unit::Nanos), Found::Is(5000)),
            (Cell::Instant(5_000_001, Unit::Nanos), Found::Not),
            (Cell::Date(1), Found::Is(86_400_000_000)),
            (Cell::Empty, Found::Missing),
        ] {
            assert_eq!(cell.integer(), expected, "{cell:?}");
        }
    }

    #[test]
    fn what_is_missing_is_so_in_every_format() {
        let text = |text: &'static str| Cell::Text(text.as_bytes());
        for cell in [
            Cell::Empty,
            text(""),
            text("NaN"),
            text(" nan"),
            Cell::Float(f64::NAN),
            Cell::Single(f32::NAN),
        ] {
            assert!(cell.is_missing(), "{cell:?}");
        }
        for cell in [
            text(" "),
            text("N/A"),
            text("0"),
            Cell::Float(f64::INFINITY),
            Cell::Integer(0),
        ] {
            assert!(!cell.is_missing(), "{cell:?}");
        }
    }

    #[test]
    fn text_is_what_one_would_write() {
        for (cell, expected) in [
            (Cell::Truth(true), "true"),
            (Cell::Float(3.0), "3"),
            (Cell::Single(0.1), "0.1"),
            (Cell::Float(f64::NAN), ""),
            (Cell::Date(19_844), "2024-05-01"),
            (Cell::Instant(-1, Unit::Millis), "1969-12-31T23:59:59.999"),
            (Cell::Clock(1_000_000, Unit::Micros), "00:00:01"),
            (Cell::Decimal(Decimal::new(-5, -3)), "-0.005"),
        ] {
            assert_eq!(cell.text().unwrap(), expected);
        }
        assert_eq!(Cell::Text(b"\xff").text(), None);
        let hostile = Cell::Text(b"a\x1b[2J\n").describe();
        assert_eq!(hostile, "`a\\x1b[2J\\n`");
    }
}
