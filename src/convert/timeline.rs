//! Where the parts of a split by time end, and which of them a cell is in.

use std::sync::Arc;

use super::cell::{Cell, trimmed};
use super::compare::finite;
use super::decimal::Number;
use super::error::{ConvertError, Failure};
use super::row::{Column, Row};
use super::time::{Form, Time};

/// The first time that is not in each part any more; the last part may have no end.
#[derive(Debug, PartialEq)]
pub(super) enum Timeline {
    Numbers(Vec<Option<Number>>),
    /// All of one form, in nanoseconds.
    Times(Form, Vec<Option<i128>>),
}

impl Timeline {
    /// Reads the ends, which must ascend and all be of one kind; the error says what is wrong with them.
    pub(super) fn new(ends: &[Option<&str>]) -> Result<Self, String> {
        let timeline = Self::of_kind(ends)?;
        let is_ascending = match &timeline {
            Self::Numbers(ends) => ascend(ends, |one, other| {
                one.compare(*other).is_some_and(|o| o.is_lt())
            }),
            Self::Times(_, ends) => ascend(ends, |one, other| one < other),
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
        let times = all(ends, Time::parse).ok_or_else(|| {
            let is_none = |end: &&&str| Time::parse(end.trim()).is_none();
            let found = ends.iter().flatten().find(is_none).unwrap_or(&"");
            format!(
                "expected numbers, or times as ISO 8601 writes them: 2024-05-31, 2024-05-31T23:59:59Z, 23:59:59, 2024-05 \
                 or 2024-W05; found `{found}`"
            )
        })?;
        let mut forms = times.iter().flatten().map(|time| time.form);
        let first = forms.next().unwrap_or(Form::Instant);
        if forms.any(|form| form != first) {
            return Err("expected times of one form: all dates, or all times of day".to_owned());
        }
        let nanos = |time: Option<Time>| time.map(|time| time.nanos);
        Ok(Self::Times(first, times.into_iter().map(nanos).collect()))
    }

    /// The part of `row`, whose time stands in `column`; `None` after the last one.
    pub(super) fn part(&self, row: &Row, column: &Column) -> Result<Option<usize>, Failure> {
        let cell = row.cell(column);
        match self {
            Self::Numbers(_) if cell.time().is_some() => Err(self.never(row, column)),
            Self::Numbers(ends) => {
                let number = cell.exact().filter(|number| number.is_finite());
                let time =
                    number.ok_or_else(|| row.wrong(column, "a number, as in split.time.before"))?;
                let is_before = |end: &Number| time.compare(*end).is_some_and(|o| o.is_lt());
                Ok(place(ends, is_before))
            }
            Self::Times(form, ends) => {
                let time = match cell {
                    Cell::Text(text) => trimmed(text).and_then(Time::parse),
                    other => other.time(),
                };
                let is_gap = matches!(cell, Cell::Text(_)) || cell.is_missing();
                match time.filter(|time| time.form == *form) {
                    Some(time) => Ok(place(ends, |end| time.nanos < *end)),
                    None if is_gap => Err(row.wrong(column, form.expected())),
                    None => Err(self.never(row, column)),
                }
            }
        }
    }

    /// No cell of a column with the one of `row` in it can ever be compared with these ends.
    fn never(&self, row: &Row, column: &Column) -> Failure {
        let (holds, remedy) = match row.cell(column) {
            Cell::Truth(_) => ("truth values", "name a column of times"),
            Cell::Clock(..) => ("times of day", "write the ends as such, \"23:59:59\""),
            Cell::Date(_) | Cell::Instant(..) => {
                ("times", "write the ends as such, \"2024-05-31\"")
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
        assert_eq!(part(&[Some("2024-10"), None], text("2024-09")), Ok(Some(0)));
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
        assert!(message.contains("expected a week such as"), "{message}");
        let date = part(&[Some("20240505"), None], Value::Date(19_844)).unwrap_err();
        let expected = "column `d` holds times: write the ends as such, \"2024-05-31\"";
        assert!(date.contains(expected), "{date}");
        let noon = Value::Clock(1, Unit::Millis);
        let clock = part(&[Some("43200"), None], noon).unwrap_err();
        assert!(clock.contains("holds times of day"), "{clock}");
        let message = missing(Value::Integer(20_240_509));
        assert!(
            message.contains("holds numbers: write the ends as numbers"),
            "{message}"
        );
        let message = missing(Value::Float(f64::NAN));
        assert!(message.contains("expected a time such as"), "{message}");
    }

    #[test]
    fn ends_ascend_and_are_of_one_kind() {
        for (ends, expected) in [
            (vec![Some("2024-05-02"), Some("2024-05-01")], "ascending"),
            (vec![None], "at least for the first"),
            (vec![None, Some("1")], "ascending"),
            (vec![Some("10"), Some("9")], "ascending"),
            (vec![Some("2024-05-01"), Some("7")], "found `7`"),
            (vec![Some("2024-05-01"), Some("12:00")], "of one form"),
            (vec![Some("")], "found ``"),
            (vec![Some("nan"), Some("2024")], "found `nan`"),
            (vec![Some("05/10/2024")], "found `05/10/2024`"),
            (
                vec![Some("2024-01-01"), Some("2024-06-31")],
                "found `2024-06-31`",
            ),
            (vec![Some("4 Apr 2024")], "as ISO 8601 writes them"),
        ] {
            let message = Timeline::new(&ends).unwrap_err();
            assert!(message.contains(expected), "{ends:?}: {message}");
        }
    }
}
