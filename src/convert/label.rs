//! When a label is 1: `column operator value`.

use std::cmp::Ordering;
use std::sync::Arc;

use super::compare::{Literal, Mismatch};
use super::error::{ConvertError, Failure};
use super::row::{Column, Row};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// Longer ones first, so that `<=` is not taken for `<`.
const OPERATORS: [(&str, Operator); 6] = [
    ("==", Operator::Equal),
    ("!=", Operator::Unequal),
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("<", Operator::Less),
    (">", Operator::More),
];

impl Operator {
    /// Whether it asks which of two is the larger one.
    fn is_ordered(self) -> bool {
        !matches!(self, Self::Equal | Self::Unequal)
    }

    fn holds(self, order: Option<Ordering>) -> bool {
        match self {
            Self::Equal => order == Some(Ordering::Equal),
            Self::Unequal => order != Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Self::More => order == Some(Ordering::Greater),
            Self::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

/// An expression as it was written, before its column has a place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Expression {
    /// The column's name.
    pub(super) column: String,
    operator: Operator,
    literal: Literal,
    /// As it was written.
    text: String,
}

impl Expression {
    /// Reads `text`; the error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let form = "write it as `column == value`, with ==, !=, <, <=, > or >=";
        let (column, rest) = match text.trim_start().strip_prefix('"') {
            Some(quoted) => quoted
                .split_once('"')
                .ok_or("a quoted column name does not end")?,
            None => {
                let text = text.trim_start();
                text.split_at(text.find(['=', '!', '<', '>']).ok_or(form)?)
            }
        };
        let rest = rest.trim_start();
        let mut operators = OPERATORS.iter();
        let (sign, operator) = operators
            .find(|(sign, _)| rest.starts_with(sign))
            .ok_or(form)?;
        let literal = Literal::parse(rest[sign.len()..].trim())?;
        if operator.is_ordered() {
            literal.order()?;
        }
        let column = column.trim();
        if column.is_empty() {
            return Err(form.to_owned());
        }
        Ok(Self {
            column: column.to_owned(),
            operator: *operator,
            literal,
            text: text.trim().to_owned(),
        })
    }

    /// Whether `row` holds nothing in `column`, the expression's, by which the label could be told.
    pub(super) fn is_missing(&self, row: &Row, column: &Column) -> bool {
        self.literal.is_missing(row.cell(column))
    }

    /// Whether the label of `row` is 1; `column` is where the expression's column stands, which is not missing.
    pub(super) fn holds(&self, row: &Row, column: &Column) -> Result<bool, Failure> {
        let compared = self
            .literal
            .compare(row.cell(column), self.operator.is_ordered());
        match compared {
            Ok(order) => Ok(self.operator.holds(order)),
            Err(Mismatch::Cell(expected)) => Err(row.wrong(column, expected)),
            Err(Mismatch::Column(holds, remedy)) => Err(row.fail(ConvertError::Comparison {
                file: Arc::clone(&row.file),
                column: column.name.clone(),
                comparison: self.text.clone(),
                holds,
                remedy,
            })),
        }
    }
}

impl std::fmt::Display for Expression {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cell::Value;
    use super::super::decimal::Decimal;
    use super::super::row::{Place, Record};
    use super::super::time::Unit;
    use super::*;

    /// Whether the label of a row with `value` in its column `a` is 1, or the message.
    fn holds(expression: &str, value: Value) -> Result<bool, String> {
        let expression = Expression::parse(expression).unwrap();
        assert_eq!(expression.column, "a");
        let row = Row {
            index: 0,
            file: std::path::Path::new("t.csv").into(),
            place: Place::Line(2),
            record: Record::Typed([value].into()),
        };
        let column = Column {
            name: "a".to_owned(),
            place: 0,
        };
        let outcome = expression.holds(&row, &column);
        outcome.map_err(|failure| failure.error.to_string())
    }

    fn text(text: &str) -> Value {
        Value::Text(text.as_bytes().into())
    }

    #[test]
    fn numbers_and_text_compare_as_what_they_are() {
        for (expression, value, expected) in [
            ("a == 1", Value::Integer(1), true),
            ("a==1.5", text(" 1.5 "), true),
            ("a <= 2", Value::Integer(2), true),
            ("a < 2", Value::Integer(2), false),
            ("a > -1e3", Value::Integer(-999), true),
            ("a >= 3", text("2.999"), false),
            ("a == \"50000+.\"", text("50000+."), true),
            ("a != \"\"", Value::Empty, false),
            ("a == \"\"", text("NaN"), true),
            ("a != \"\"", text("N/A"), true),
            ("a == \"x\"", text("nan"), false),
            ("a == \"nan\"", text("nan"), true),
            ("\"a\" == \"x == y\"", text("x == y"), true),
            // Beyond 2^53 floats would say that these are equal.
            ("a == 9007199254740993", text("9007199254740992"), false),
            ("a > 18446744073709551614", Value::Unsigned(u64::MAX), true),
            ("a == 0.1", Value::Single(0.1), true),
            (
                "a == 0.10",
                Value::Decimal(Box::new(Decimal::new(1, -1))),
                true,
            ),
            ("a < 10", text("9"), true),
            ("a == \"07\"", text("7"), false),
            ("a == \"07\"", Value::Integer(7), true),
            ("a != \"\"", Value::Integer(7), true),
            ("a == \"\"", Value::Float(f64::NAN), true),
        ] {
            assert_eq!(holds(expression, value), Ok(expected), "{expression}");
        }
        let spaced = Expression::parse("\"a b\" == 1").unwrap();
        assert_eq!(spaced.column, "a b");
    }

    #[test]
    fn truth_values_compare_as_truth_values() {
        for (expression, value, expected) in [
            ("a == true", Value::Truth(true), true),
            ("a == 1", Value::Truth(true), true),
            ("a == \"true\"", Value::Truth(true), true),
            ("a != \"False\"", Value::Truth(true), true),
            ("a == TRUE", text(" True"), true),
            ("a == false", text("0"), true),
            ("a == true", Value::Float(1.0), true),
            ("a == true", Value::Integer(0), false),
        ] {
            assert_eq!(holds(expression, value), Ok(expected), "{expression}");
        }
        for value in [text("maybe"), Value::Empty, Value::Integer(2)] {
            let message = holds("a == true", value).unwrap_err();
            assert!(message.contains("expected true or false"), "{message}");
        }
    }

    #[test]
    fn times_compare_as_times() {
        let noon = 1_714_564_800_000;
        for (expression, value, expected) in [
            ("a >= \"2024-05-01\"", Value::Date(19_844), true),
            ("a > \"2024-05-01\"", Value::Date(19_844), false),
            (
                "a == \"2024-05-01T12:00Z\"",
                Value::Instant(noon, Unit::Millis),
                true,
            ),
            (
                "a == \"2024-05-01 14:00+02:00\"",
                Value::Instant(noon * 1000, Unit::Micros),
                true,
            ),
            (
                "a < \"2024-05-02\"",
                Value::Instant(noon * 1_000_000, Unit::Nanos),
                true,
            ),
            (
                "a < \"2024-05-01T13:00:00+01:00\"",
                text("2024-05-01 11:59:59.999"),
                true,
            ),
            ("a == \"2024-05-01\"", text("2024-05-01T00:00:00Z"), true),
            ("a == \"2024-05\"", text("2024-05"), true),
            ("a == \"2024W05\"", text("2024-W05"), true),
            ("a == \"12:00\"", text("noon"), false),
            ("a != \"05/10/2024\"", text("2024-05-10"), true),
            ("a >= \"2024-W05\"", text("2024-W10"), true),
            ("a < \"12:00\"", Value::Clock(1, Unit::Micros), true),
            ("a < \"12:00\"", text("11:59:59"), true),
        ] {
            assert_eq!(holds(expression, value), Ok(expected), "{expression}");
        }
        for bad in [
            "",
            "N/A",
            "05/10/2024",
            "15/06/2024",
            "4 Apr 2024",
            "24-05-05",
            "2024-06-31",
            "2024-13-01",
            "20240505",
            "2024-05",
            "nan",
        ] {
            for operator in ["<", "==", "!="] {
                let message =
                    holds(&format!("a {operator} \"2024-05-01\""), text(bad)).unwrap_err();
                assert!(message.contains("expected a time such as"), "{message}");
            }
        }
        for bad in ["10:00 PM", "25:00", "noon", "2024-05-01"] {
            let message = holds("a < \"12:00\"", text(bad)).unwrap_err();
            assert!(message.contains("expected a time of day"), "{message}");
        }
    }

    #[test]
    fn what_can_never_hold_says_what_the_column_holds() {
        for (expression, value, expected) in [
            (
                "a == \"yes\"",
                Value::Truth(true),
                "truth values: compare it with true or false",
            ),
            (
                "a == \"red\"",
                Value::Integer(1),
                "numbers: compare it with a number",
            ),
            (
                "a == \"May\"",
                Value::Date(1),
                "times: compare it with one in quotes",
            ),
            (
                "a == true",
                Value::Instant(1, Unit::Millis),
                "times: compare it with one in quotes",
            ),
            (
                "a >= 1714867200000",
                Value::Instant(1, Unit::Millis),
                "times: compare it with one in quotes, such as \"2024-05-31\"",
            ),
            ("a != 19844", Value::Date(1), "times: compare it with one"),
            (
                "a < 43200",
                Value::Clock(1, Unit::Micros),
                "times of day: compare it with one in quotes, such as \"23:59:59\"",
            ),
            (
                "a == \"2024-05-01\"",
                Value::Clock(1, Unit::Millis),
                "times of day",
            ),
        ] {
            let message = holds(expression, value).unwrap_err();
            assert!(message.contains(expected), "{message}");
            assert!(message.contains(&format!("`{expression}`")), "{message}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_with_a_remedy() {
        for (text, expected) in [
            ("a", "write it as"),
            ("a = 1", "write it as"),
            ("== 1", "write it as"),
            ("a == x", "text stands in double quotes: \"x\""),
            ("a == 'x'", "text stands in double quotes: \"x\""),
            ("a == nan", "is no number"),
            ("a < 1e400", "is no number"),
            ("a < \"\"", "only == and != ask"),
            ("a < \"b\"", "\"b\" is text, which has no order"),
            ("a <= \"10001\"", "write the number without quotes"),
            ("a > \"15/06/2024\"", "as ISO 8601 writes it"),
            ("a >= \"2024-06-31\"", "as ISO 8601 writes it"),
            ("a < \"10:00 PM\"", "as ISO 8601 writes it"),
            ("a == \"x", "does not end"),
            ("\"a == 1", "does not end"),
            ("a == ", "is no number"),
        ] {
            let message = Expression::parse(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn text_is_no_number_to_compare_and_gaps_are_missing() {
        for value in [text("one"), text("inf"), Value::Float(f64::INFINITY)] {
            let message = holds("a == 1", value).unwrap_err();
            assert!(message.starts_with("t.csv: line 2, column `a`: expected a number"));
        }
        let is_missing = |expression: &str, value: Value| {
            let expression = Expression::parse(expression).unwrap();
            expression.literal.is_missing(value.cell())
        };
        for value in [Value::Empty, Value::Float(f64::NAN)] {
            for expression in ["a == 1", "a != \"x\"", "a < \"2024-05-01\"", "a == true"] {
                assert!(is_missing(expression, value.clone()), "{expression}");
            }
            assert!(!is_missing("a == \"\"", value));
        }
        assert!(is_missing("a > 1", text("NaN")));
        assert!(!is_missing("a == \"Bangkok\"", text("Nan")));
    }
}
