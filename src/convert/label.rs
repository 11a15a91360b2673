//! When a label is 1: `column operator value`.

use std::cmp::Ordering;

use super::cell::{Column, Row};
use super::error::Failure;

/// What a cell is compared with.
#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Number(f64),
    Text(String),
}

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
    operand: Operand,
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
        let value = rest[sign.len()..].trim();
        let operand = match value.strip_prefix('"') {
            Some(quoted) => match quoted.strip_suffix('"') {
                Some(text) if !text.contains('"') => Operand::Text(text.to_owned()),
                _ => return Err("a quoted value does not end, or has text behind it".to_owned()),
            },
            None => Operand::Number(value.parse().map_err(|_| {
                format!("`{value}` is no number; text stands in double quotes: \"{value}\"")
            })?),
        };
        let column = column.trim();
        if column.is_empty() {
            return Err(form.to_owned());
        }
        Ok(Self {
            column: column.to_owned(),
            operator: *operator,
            operand,
        })
    }

    /// Whether the label of `row` is 1; `column` is where the expression's column stands.
    pub(super) fn holds(&self, row: &Row, column: &Column) -> Result<bool, Failure> {
        let order = match &self.operand {
            Operand::Number(number) => {
                let found = row.cell(column).number();
                let expected = "a number to compare (text is compared with a value in quotes)";
                let found = found.ok_or_else(|| row.wrong(column, expected))?;
                found.partial_cmp(number)
            }
            Operand::Text(text) => Some(row.text_in(column)?.as_ref().cmp(text.as_str())),
        };
        Ok(self.operator.holds(order))
    }
}

#[cfg(test)]
mod tests {
    use super::super::cell::{Record, Value};
    use super::*;

    fn row(value: Value) -> Row {
        Row {
            index: 0,
            file: std::path::Path::new("t.csv").into(),
            number: 1,
            record: Record::Typed(vec![value]),
        }
    }

    #[test]
    fn expressions_compare_numbers_and_text() {
        let text = |text: &str| Value::Text(text.as_bytes().into());
        for (expression, value, expected) in [
            ("a == 1", Value::Int(1), true),
            ("a==1.5", text(" 1.5 "), true),
            ("a != 1", Value::Float(f64::NAN), true),
            ("a <= 2", Value::Int(2), true),
            ("a < 2", Value::Int(2), false),
            ("a > -1e3", Value::Int(-999), true),
            ("a >= 3", text("2.999"), false),
            ("a == \"50000+.\"", text("50000+."), true),
            ("a != \"\"", Value::Empty, false),
            ("a < \"b\"", text("abc"), true),
            ("\"a\" == \"x == y\"", text("x == y"), true),
        ] {
            let parsed = Expression::parse(expression).unwrap();
            assert_eq!(parsed.column, "a");
            let column = Column {
                name: "a".to_owned(),
                place: 0,
            };
            let holds = parsed.holds(&row(value), &column).unwrap();
            assert_eq!(holds, expected, "{expression}");
        }
        let spaced = Expression::parse("\"a b\" == 1").unwrap();
        assert_eq!(spaced.column, "a b");
    }

    #[test]
    fn what_is_no_expression_is_refused_with_a_remedy() {
        for (text, expected) in [
            ("a", "write it as"),
            ("a = 1", "write it as"),
            ("== 1", "write it as"),
            ("a == x", "text stands in double quotes: \"x\""),
            ("a == \"x", "does not end"),
            ("\"a == 1", "does not end"),
            ("a == ", "is no number"),
        ] {
            let message = Expression::parse(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn text_is_no_number_to_compare() {
        let expression = Expression::parse("a == 1").unwrap();
        let column = Column {
            name: "a".to_owned(),
            place: 0,
        };
        for value in [Value::Empty, Value::Text(b"one".as_slice().into())] {
            let failure = expression.holds(&row(value), &column).unwrap_err();
            let message = failure.error.to_string();
            assert!(message.starts_with("t.csv: row 1, column `a`: expected a number"));
        }
    }
}
