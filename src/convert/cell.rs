//! One value of a table, and the row it stands in.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use super::error::{ConvertError, Failure};

/// One value of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    Empty,
    Int(i64),
    Float(f64),
    Text(&'a [u8]),
}

/// What a Parquet file holds in one place.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Empty,
    Int(i64),
    Float(f64),
    Text(Box<[u8]>),
}

/// How the records of one CSV file are read.
#[derive(Debug)]
pub(super) struct Layout {
    /// Where each used column stands.
    pub(super) positions: Vec<usize>,
    /// Cells that count as empty.
    pub(super) nulls: Vec<Vec<u8>>,
}

/// The used columns of one row.
#[derive(Debug)]
pub(super) enum Record {
    Text {
        record: csv::ByteRecord,
        layout: Arc<Layout>,
    },
    Typed(Vec<Value>),
}

/// One row of a table.
#[derive(Debug)]
pub(super) struct Row {
    /// Number over all files, from 0.
    pub(super) index: u64,
    pub(super) file: Arc<Path>,
    /// Number in the file, from 1.
    pub(super) number: u64,
    pub(super) record: Record,
}

/// A used column: its name, and its place among the used ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) place: usize,
}

impl Row {
    pub(super) fn cell(&self, column: &Column) -> Cell<'_> {
        match &self.record {
            Record::Text { record, layout } => {
                let position = layout.positions.get(column.place);
                match position.and_then(|&position| record.get(position)) {
                    Some(text) if !layout.nulls.iter().any(|null| null == text) => Cell::Text(text),
                    _ => Cell::Empty,
                }
            }
            Record::Typed(values) => match values.get(column.place) {
                None | Some(Value::Empty) => Cell::Empty,
                Some(Value::Int(value)) => Cell::Int(*value),
                Some(Value::Float(value)) => Cell::Float(*value),
                Some(Value::Text(text)) => Cell::Text(text),
            },
        }
    }

    /// The number in `column`; `None` for an empty cell.
    pub(super) fn number_in(&self, column: &Column) -> Result<Option<f64>, Failure> {
        let cell = self.cell(column);
        match cell.number() {
            Some(number) => Ok(Some(number)),
            None if cell == Cell::Empty => Ok(None),
            None => Err(self.wrong(column, "a number")),
        }
    }

    /// The text in `column`, that of a number included; `""` for an empty cell.
    pub(super) fn text_in(&self, column: &Column) -> Result<Cow<'_, str>, Failure> {
        let text = self.cell(column).text();
        text.ok_or_else(|| self.wrong(column, "text in UTF-8"))
    }

    /// The error of a cell that is not what it should be.
    pub(super) fn wrong(&self, column: &Column, expected: &str) -> Failure {
        let error = ConvertError::Cell {
            file: Arc::clone(&self.file),
            row: self.number,
            column: column.name.clone(),
            expected: expected.to_owned(),
            found: self.cell(column).describe(),
        };
        let index = self.index;
        Failure { index, error }
    }
}

impl<'a> Cell<'a> {
    /// As a number, if it is one.
    pub(super) fn number(self) -> Option<f64> {
        match self {
            Self::Empty => None,
            #[allow(clippy::cast_precision_loss, reason = "a number is wanted as f64")]
            Self::Int(value) => Some(value as f64),
            Self::Float(value) => Some(value),
            Self::Text(text) => std::str::from_utf8(text).ok()?.trim().parse().ok(),
        }
    }

    /// As an integer, if it is one.
    pub(super) fn integer(self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(value),
            Self::Text(text) => std::str::from_utf8(text).ok()?.trim().parse().ok(),
            Self::Empty | Self::Float(_) => None,
        }
    }

    /// As text, if it is UTF-8.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Empty => Some(Cow::Borrowed("")),
            Self::Int(value) => Some(value.to_string().into()),
            Self::Float(value) => Some(value.to_string().into()),
            Self::Text(text) => std::str::from_utf8(text).ok().map(Cow::Borrowed),
        }
    }

    fn describe(self) -> String {
        match self {
            Self::Empty => "an empty cell".to_owned(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Text(text) => {
                let text = String::from_utf8_lossy(text);
                let shown: String = text.chars().take(40).collect();
                let more = if shown.len() < text.len() { "…" } else { "" };
                format!("`{shown}{more}`")
            }
        }
    }
}
