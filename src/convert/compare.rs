//! What a cell is compared with, and how: as truth values, numbers, times or text, whichever of them cell and literal are.

use std::cmp::Ordering;

use super::cell::{Cell, trimmed};
use super::decimal::Number;
use super::time::{Form, Time};

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
    time: Option<Time>,
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
const TRUTH: Mismatch = Mismatch::Cell("true or false");
const TIMES: Mismatch = Mismatch::Column(
    "times",
    "compare it with one in quotes, such as \"2024-05-31\"",
);
const CLOCKS: Mismatch = Mismatch::Column(
    "times of day",
    "compare it with one in quotes, such as \"23:59:59\"",
);

/// Why a cell with `time` in it cannot be compared with anything but times.
fn never(time: Time) -> Mismatch {
    match time.form {
        Form::Clock => CLOCKS,
        _ => TIMES,
    }
}

impl Quoted {
    pub(super) fn new(text: &str) -> Self {
        let trimmed = text.trim();
        Self {
            text: text.to_owned(),
            truth: truth(trimmed),
            number: finite(trimmed),
            time: Time::parse(trimmed),
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

    /// Whether cells can stand in an order to it; the error says why not, and what to write.
    pub(super) fn order(&self) -> Result<(), String> {
        match self {
            Self::Truth(_) | Self::Number(_) => Ok(()),
            Self::Quoted(quoted) if quoted.text.is_empty() => {
                Err("only == and != ask whether a cell is empty".to_owned())
            }
            Self::Quoted(Quoted { time: Some(_), .. }) => Ok(()),
            Self::Quoted(Quoted {
                number: Some(_),
                text,
                ..
            }) => Err(format!(
                "\"{text}\" is text, which has no order: write the number without quotes"
            )),
            Self::Quoted(Quoted { text, .. }) => Err(format!(
                "\"{text}\" is text, which has no order: <, <=, > and >= take a number, or a time as ISO 8601 writes it, \
                 such as \"2024-05-31\", \"2024-05-31T23:59:59Z\" or \"23:59:59\""
            )),
        }
    }

    /// Whether `cell` holds nothing to compare, unless that is what is asked.
    pub(super) fn is_missing(&self, cell: Cell<'_>) -> bool {
        match (self, cell) {
            (Self::Quoted(quoted), _) if quoted.text.is_empty() => false,
            // Among text `nan` may be a name.
            (Self::Quoted(_), Cell::Text(_)) => false,
            _ => cell.is_missing(),
        }
    }

    /// How `cell`, which is not missing, stands to this; `is_ordered` where it is asked which is the larger one, not only
    /// whether they are equal.
    pub(super) fn compare(&self, cell: Cell<'_>, is_ordered: bool) -> Compared {
        match self {
            Self::Truth(literal) => with_truth(*literal, cell),
            Self::Number(literal) => match (cell.time(), cell.exact()) {
                (Some(time), _) => Err(never(time)),
                (None, Some(found)) if found.is_finite() => Ok(found.compare(*literal)),
                _ => Err(NUMBER),
            },
            Self::Quoted(literal) if literal.text.is_empty() => {
                Ok(cell.is_missing().then_some(Ordering::Equal))
            }
            Self::Quoted(literal) => match cell {
                Cell::Text(text) => literal.with_text(text, is_ordered),
                other => literal.with_typed(other),
            },
        }
    }
}

fn with_truth(literal: bool, cell: Cell<'_>) -> Compared {
    if let Some(time) = cell.time() {
        return Err(never(time));
    }
    let found = match cell {
        Cell::Truth(found) => Some(found),
        Cell::Text(text) => trimmed(text).and_then(truth),
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
        let found = trimmed(found).and_then(Time::parse);
        match (self.time, found) {
            (Some(literal), Some(found)) if found.form == literal.form => {
                Ok(Some(found.nanos.cmp(&literal.nanos)))
            }
            // A date written in another way is no text to be different from.
            (Some(literal), _) if is_ordered || literal.form == Form::Instant => {
                Err(Mismatch::Cell(literal.form.expected()))
            }
            _ => Ok((text == self.text).then_some(Ordering::Equal)),
        }
    }

    fn with_typed(&self, cell: Cell<'_>) -> Compared {
        if let Some(found) = cell.time() {
            let literal = self.time.filter(|literal| literal.form == found.form);
            let literal = literal.ok_or(never(found))?;
            return Ok(Some(found.nanos.cmp(&literal.nanos)));
        }
        match cell {
            Cell::Truth(found) => {
                let remedy = "compare it with true or false";
                let literal = self.truth.ok_or(Mismatch::Column("truth values", remedy))?;
                Ok(Some(found.cmp(&literal)))
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
