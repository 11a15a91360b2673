//! What a cell is compared with, and how: as truth values, numbers, times or text, whichever of them cell and literal are.

use std::cmp::Ordering;

use super::cell::{Cell, trimmed};
use super::decimal::Number;
use super::time;

/// A value of the mapping.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    Truth(bool),
    Number(Number),
    Quoted(Quoted),
}

/// Text of the mapping, and what else it can be read as.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quoted {
    text: String,
    truth: Option<bool>,
    number: Option<Number>,
    instant: Option<i128>,
    clock: Option<i128>,
}

/// Why a cell cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// The cell is not what stands here.
    Cell(&'static str),
    /// No cell of the column can ever be: what it holds, and what to compare it with.
    Column(&'static str, &'static str),
}

/// The order of a cell and a literal; `None` where they are neither equal nor in any order.
type Compared = Result<Option<Ordering>, Mismatch>;

const NUMBER: Mismatch =
    Mismatch::Cell("a number to compare (text is compared with a value in quotes)");
const TIME: Mismatch = Mismatch::Cell("a time such as 2024-05-31 or 2024-05-31T23:59:59Z");
const CLOCK: Mismatch = Mismatch::Cell("a time of day such as 23:59:59");
const TRUTH: Mismatch = Mismatch::Cell("true or false");

impl Quoted {
    pub(super) fn new(text: &str) -> Self {
        let trimmed = text.trim();
        Self {
            text: text.to_owned(),
            truth: truth(trimmed),
            number: finite(trimmed),
            instant: time::instant(trimmed),
            clock: time::clock(trimmed),
        }
    }
}

/// The finite number that `text` is.
pub(super) fn finite(text: &str) -> Option<Number> {
    Number::parse(text).filter(|number| number.is_finite())
}

/// The truth value that `text` is: `true` or `false`, however written, 1 or 0.
pub(super) fn truth(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") || text == "1" {
        return Some(true);
    }
    (text.eq_ignore_ascii_case("false") || text == "0").then_some(false)
}

impl Literal {
    /// Reads a value as it stands in a mapping; the error says what is wrong with it.
    pub(super) fn parse(value: &str) -> Result<Self, String> {
        if let Some(quoted) = value.strip_prefix('"') {
            return match quoted.strip_suffix('"') {
                Some(text) if !text.contains('"') => Ok(Self::Quoted(Quoted::new(text))),
                _ => Err("a quoted value does not end, or has text behind it".to_owned()),
            };
        }
        if value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false") {
            return Ok(Self::Truth(value.eq_ignore_ascii_case("true")));
        }
        finite(value).map(Self::Number).ok_or_else(|| {
            let text = value.trim_matches('\'');
            format!(
                "`{value}` is no number and neither true nor false; text stands in double quotes: \"{text}\""
            )
        })
    }

    /// Whether it is `""`, with which a cell is only asked whether it is empty.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Quoted(quoted) if quoted.text.is_empty())
    }

    /// How `cell` stands to this; `is_ordered` where it is asked which is the larger one, not only whether they are equal.
    pub(super) fn compare(&self, cell: Cell<'_>, is_ordered: bool) -> Compared {
        match self {
            Self::Truth(literal) => with_truth(*literal, cell),
            Self::Number(literal) => match cell.exact() {
                Some(found) if found.is_finite() => Ok(found.compare(*literal)),
                _ => Err(NUMBER),
            },
            Self::Quoted(literal) if literal.text.is_empty() => {
                let is_empty = cell.text().is_some_and(|text| text.is_empty());
                Ok(is_empty.then_some(Ordering::Equal))
            }
            Self::Quoted(literal) => match cell {
                Cell::Text(text) => literal.with_text(text, is_ordered),
                Cell::Empty => literal.with_empty(is_ordered),
                other => literal.with_typed(other),
            },
        }
    }
}

fn with_truth(literal: bool, cell: Cell<'_>) -> Compared {
    let found = match cell {
        Cell::Truth(found) => Some(found),
        Cell::Text(text) => trimmed(text).and_then(truth),
        Cell::Date(_) | Cell::Clock(..) | Cell::Instant(..) => {
            let remedy = "compare it with a time in quotes, such as \"2024-05-31\"";
            return Err(Mismatch::Column("times", remedy));
        }
        other => match other.exact().map(Number::to_f64) {
            Some(1.0) => Some(true),
            Some(0.0) => Some(false),
            _ => None,
        },
    };
    Ok(Some(found.ok_or(TRUTH)?.cmp(&literal)))
}

impl Quoted {
    fn with_text(&self, found: &[u8], is_ordered: bool) -> Compared {
        let Ok(text) = std::str::from_utf8(found) else {
            return Err(Mismatch::Cell("text in UTF-8"));
        };
        let trimmed = text.trim();
        if !is_ordered {
            let instants = self.instant.zip(time::instant(trimmed));
            let is_equal = text == self.text || instants.is_some_and(|(one, other)| one == other);
            return Ok(is_equal.then_some(Ordering::Equal));
        }
        // Digits in order of their text would have 9 after 10.
        if let Some(literal) = self.number {
            return Ok(finite(trimmed).ok_or(NUMBER)?.compare(literal));
        }
        if let Some(literal) = self.instant {
            return Ok(Some(time::instant(trimmed).ok_or(TIME)?.cmp(&literal)));
        }
        if let Some(literal) = self.clock {
            return Ok(Some(time::clock(trimmed).ok_or(CLOCK)?.cmp(&literal)));
        }
        Ok(Some(text.cmp(&self.text)))
    }

    /// An empty cell is text, before all other text, but neither a number nor a time.
    fn with_empty(&self, is_ordered: bool) -> Compared {
        match self {
            _ if !is_ordered => Ok(None),
            Self {
                number: Some(_), ..
            } => Err(NUMBER),
            Self {
                instant: Some(_), ..
            } => Err(TIME),
            Self { clock: Some(_), .. } => Err(CLOCK),
            _ => Ok(Some(Ordering::Less)),
        }
    }

    fn with_typed(&self, cell: Cell<'_>) -> Compared {
        match cell {
            Cell::Truth(found) => {
                let remedy = "compare it with true or false";
                let literal = self.truth.ok_or(Mismatch::Column("truth values", remedy))?;
                Ok(Some(found.cmp(&literal)))
            }
            Cell::Date(_) | Cell::Instant(..) => {
                let remedy = "compare it with one in quotes, such as \"2024-05-31\"";
                let literal = self.instant.ok_or(Mismatch::Column("times", remedy))?;
                Ok(instant(cell).map(|found| found.cmp(&literal)))
            }
            Cell::Clock(ticks, unit) => {
                let remedy = "compare it with one in quotes, such as \"23:59:59\"";
                let literal = self.clock.ok_or(Mismatch::Column("times of day", remedy))?;
                Ok(Some(unit.nanos(ticks).cmp(&literal)))
            }
            other => {
                let remedy = "compare it with a number, without quotes";
                let literal = self.number.ok_or(Mismatch::Column("numbers", remedy))?;
                match other.exact() {
                    Some(found) if found.is_finite() => Ok(found.compare(literal)),
                    _ => Err(NUMBER),
                }
            }
        }
    }
}

/// The instant that a typed cell is.
pub(super) fn instant(cell: Cell<'_>) -> Option<i128> {
    match cell {
        Cell::Date(days) => Some(time::midnight(days)),
        Cell::Instant(ticks, unit) => Some(unit.nanos(ticks)),
        _ => None,
    }
}
