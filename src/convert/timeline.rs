//! Where the parts of a split by time end, and which of them a cell is in.

use std::sync::Arc;

use super::cell::{Cell, Found, trimmed};
use super::compare::{finite, instant};
use super::decimal::Number;
use super::error::{ConvertError, Failure};
use super::row::{Column, Row};
use super::time;

/// The first time that is not in each part any more; the last part may have no end.
#[derive(Debug, PartialEq)]
pub(super) enum Timeline {
    Numbers(Vec<Option<Number>>),
    /// Nanoseconds since 1970.
    Instants(Vec<Option<i128>>),
    /// Nanoseconds since midnight.
    Clocks(Vec<Option<i128>>),
    /// Such as `2024-W05`: text of this form that sorts.
    Texts(Vec<Option<String>>, String),
}

impl Timeline {
    /// Reads the ends, which must ascend and all be of one kind; the error says what is wrong with them.
    pub(super) fn new(ends: &[Option<&str>]) -> Result<Self, String> {
        let timeline = Self::of_kind(ends)?;
        let is_ascending = match &timeline {
            Self::Numbers(ends) => ascend(ends, |one, other| {
                one.compare(*other).is_some_and(|o| o.is_lt())
            }),
            Self::Instants(ends) | Self::Clocks(ends) => ascend(ends, |one, other| one < other),
            Self::Texts(ends, _) => ascend(ends, |one, other| one < other),
        };
        if is_ascending {
            return Ok(timeline);
        }
        Err("expected ascending times, and null for the last part only".to_owned())
    }

    fn of_kind(ends: &[Option<&str>]) -> Result<Self, String> {
        if ends.iter().all(Option::is_none) {
            return Err("expected a time, at least for the first part".to_owned());
        }
        if let Some(ends) = all(ends, finite) {
            return Ok(Self::Numbers(ends));
        }
        if let Some(ends) = all(ends, time::instant) {
            return Ok(Self::Instants(ends));
        }
        if let Some(ends) = all(ends, time::clock) {
            return Ok(Self::Clocks(ends));
        }
        let mut forms = ends.iter().flatten().map(|end| form(end.trim()));
        let first = forms.next().unwrap_or_default();
        if first.is_empty() || forms.any(|other| other != first) {
            return Err(
                "expected times of one form: all dates such as 2024-05-31, or all numbers"
                    .to_owned(),
            );
        }
        let texts = ends.iter().map(|end| end.map(|end| end.trim().to_owned()));
        Ok(Self::Texts(texts.collect(), first))
    }

    /// The part of `row`, whose time stands in `column`; `None` after the last one.
    pub(super) fn part(&self, row: &Row, column: &Column) -> Result<Option<usize>, Failure> {
        let cell = row.cell(column);
        let found = match self {
            Self::Numbers(ends) => {
                let number = cell.exact().filter(|number| number.is_finite());
                let number = number.ok_or("a number, as in split.time.before");
                number.map(|time| place(ends, |end| time.compare(*end).is_some_and(|o| o.is_lt())))
            }
            Self::Instants(ends) => {
                let time = self.instant(row, column)?;
                time.ok_or("a time such as 2024-05-31 or 2024-05-31T23:59:59Z")
                    .map(|time| place(ends, |end| time < *end))
            }
            Self::Clocks(ends) => {
                let time = self.clock(row, column)?;
                time.ok_or("a time of day such as 23:59:59")
                    .map(|time| place(ends, |end| time < *end))
            }
            Self::Texts(ends, form_of_ends) => {
                let text = cell.text().unwrap_or_default();
                let text = text.trim();
                let text = (form(text) == *form_of_ends).then_some(text);
                text.ok_or("text of the form in split.time.before")
                    .map(|time| place(ends, |end| time < end.as_str()))
            }
        };
        found.map_err(|expected| row.wrong(column, expected))
    }

    fn instant(&self, row: &Row, column: &Column) -> Result<Option<i128>, Failure> {
        match row.cell(column) {
            Cell::Text(text) => Ok(trimmed(text).and_then(time::instant)),
            Cell::Empty => Ok(None),
            cell @ (Cell::Date(_) | Cell::Instant(..)) => Ok(instant(cell)),
            other => Err(self.never(row, column, other)),
        }
    }

    fn clock(&self, row: &Row, column: &Column) -> Result<Option<i128>, Failure> {
        match row.cell(column) {
            Cell::Text(text) => Ok(trimmed(text).and_then(time::clock)),
            Cell::Empty => Ok(None),
            Cell::Clock(ticks, unit) => Ok(Some(unit.nanos(ticks))),
            other => Err(self.never(row, column, other)),
        }
    }

    /// No cell of a column with `cell` in it can ever be compared with these ends.
    fn never(&self, row: &Row, column: &Column, cell: Cell<'_>) -> Failure {
        let (holds, remedy) = match cell {
            Cell::Truth(_) => ("truth values", "name a column of times"),
            Cell::Clock(..) => ("times of day", "write the ends as such"),
            Cell::Date(_) | Cell::Instant(..) => ("times", "write the ends as such: 2024-05-31"),
            other if other.number() == Found::Missing => {
                return row.wrong(column, "a time");
            }
            _ => ("numbers", "write the ends as numbers"),
        };
        row.fail(ConvertError::Comparison {
            file: Arc::clone(&row.file),
            column: column.name.clone(),
            comparison: "split.time.before".to_owned(),
            holds,
            remedy,
        })
    }
}

/// Every end as `read` reads it, if it can read them all.
fn all<T>(ends: &[Option<&str>], read: impl Fn(&str) -> Option<T>) -> Option<Vec<Option<T>>> {
    let read = |end: &Option<&str>| match end {
        None => Some(None),
        Some(end) => read(end.trim()).map(Some),
    };
    ends.iter().map(read).collect()
}

fn ascend<T>(ends: &[Option<T>], is_before: impl Fn(&T, &T) -> bool) -> bool {
    ends.windows(2).all(|pair| match (&pair[0], &pair[1]) {
        (Some(end), Some(next)) => is_before(end, next),
        (Some(_), None) => true,
        (None, _) => false,
    })
}

/// The first part whose end `is_before` says is still to come.
fn place<T>(ends: &[Option<T>], is_before: impl Fn(&T) -> bool) -> Option<usize> {
    ends.iter()
        .position(|end| end.as_ref().is_none_or(&is_before))
}

/// `text` with 0 for every digit and a for every letter: what has another form does not sort among it.
fn form(text: &str) -> String {
    let sign = |c: char| match c {
        c if c.is_numeric() => '0',
        c if c.is_alphabetic() => 'a',
        c => c,
    };
    text.chars().map(sign).collect()
}

#[cfg(test)]
mod tests {
    use super::super::cell::Value;
    use super::super::row::{Place, Record};
    use super::super::time::Unit;
    use super::*;

    fn part(ends: &[Option<&str>], value: Value) -> Result<Option<usize>, String> {
        let row = Row {
            index: 0,
            file: std::path::Path::new("t.csv").into(),
            place: Place::Line(3),
            record: Record::Typed([value].into()),
        };
        let column = Column {
            name: "d".to_owned(),
            place: 0,
        };
        let found = Timeline::new(ends).unwrap().part(&row, &column);
        found.map_err(|failure| failure.error.to_string())
    }

    fn text(text: &str) -> Value {
        Value::Text(text.as_bytes().into())
    }

    #[test]
    fn times_of_every_kind_have_their_part() {
        let may = [Some("2024-05-01"), Some("2024-05-09T12:00+02:00"), None];
        for (value, expected) in [
            (text("2024-04-30T23:59:59.999"), 0),
            (text(" 2024-05-01 "), 1),
            (text("2024-05-01T01:00+02:00"), 0),
            (text("2024-05-09 09:59:59Z"), 1),
            (text("2024-05-09 10:00"), 2),
            (Value::Date(19_843), 0),
            (Value::Date(19_844), 1),
            (Value::Instant(1_715_248_800_000, Unit::Millis), 2),
        ] {
            assert_eq!(part(&may, value.clone()), Ok(Some(expected)), "{value:?}");
        }
        assert_eq!(part(&[Some("10")], text("9.5")), Ok(Some(0)));
        assert_eq!(part(&[Some("10")], Value::Integer(10)), Ok(None));
        let beyond = [Some("9007199254740993"), None];
        assert_eq!(part(&beyond, text("9007199254740992")), Ok(Some(0)));
        assert_eq!(part(&beyond, text("9007199254740993")), Ok(Some(1)));
        assert_eq!(part(&[Some("2024-W05")], text("2024-W04")), Ok(Some(0)));
        assert_eq!(part(&[Some("12:00"), None], text("13:30")), Ok(Some(1)));
    }

    #[test]
    fn what_is_no_time_has_no_part() {
        let missing = |value| part(&[Some("2024-05-09"), None], value).unwrap_err();
        for value in [
            "",
            "N/A",
            "NaT",
            "nan",
            "05/10/2024",
            "2024-5-9",
            "20240509",
        ] {
            let message = missing(text(value));
            let expected = "t.csv: line 3, column `d`: expected a time such as";
            assert!(message.starts_with(expected), "{message}");
        }
        assert!(missing(Value::Empty).contains("an empty cell"));
        for value in [
            text("NaN"),
            text("inf"),
            Value::Float(f64::NAN),
            Value::Empty,
            text("x"),
        ] {
            let message = part(&[Some("20"), None], value).unwrap_err();
            assert!(message.contains("expected a number"), "{message}");
        }
        let message = part(&[Some("2024-W05")], text("2024-05-01")).unwrap_err();
        assert!(
            message.contains("of the form in split.time.before"),
            "{message}"
        );
        let message = missing(Value::Integer(20_240_509));
        assert!(
            message.contains("holds numbers: write the ends as numbers"),
            "{message}"
        );
        let message = missing(Value::Float(f64::NAN));
        assert!(message.contains("expected a time, found NaN"), "{message}");
    }

    #[test]
    fn ends_ascend_and_are_of_one_kind() {
        for (ends, expected) in [
            (vec![Some("2024-05-02"), Some("2024-05-01")], "ascending"),
            (vec![None], "at least for the first"),
            (vec![None, Some("1")], "ascending"),
            (vec![Some("10"), Some("9")], "ascending"),
            (vec![Some("2024-05-01"), Some("7")], "of one form"),
            (vec![Some("")], "of one form"),
            (vec![Some("nan"), Some("2024")], "of one form"),
        ] {
            let message = Timeline::new(&ends).unwrap_err();
            assert!(message.contains(expected), "{ends:?}: {message}");
        }
    }
}
