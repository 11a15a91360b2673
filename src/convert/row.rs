//! One row of a table: where it stands, and the cells of the columns that the mapping uses.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::cell::{Cell, Found, Value};
use super::error::{ConvertError, Failure};

/// Where a row stands in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The line that it begins in, from 1.
    Line(u64),
    /// Its number, from 1.
    Row(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(formatter, "line {line}"),
            Self::Row(row) => write!(formatter, "row {row}"),
        }
    }
}

/// The used columns of one row.
#[derive(Debug)]
pub(super) enum Record {
    /// One after the other, and where each of them lies.
    Text {
        bytes: Box<[u8]>,
        /// `None` for an empty cell.
        cells: Box<[Option<(u32, u32)>]>,
    },
    Typed(Box<[Value]>),
}

/// One row of a table.
#[derive(Debug)]
pub(super) struct Row {
    /// Number over all files, from 0.
    pub(super) index: u64,
    pub(super) file: Arc<Path>,
    pub(super) place: Place,
    pub(super) record: Record,
}

/// A used column: its name, and its place among the used ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) place: usize,
}

impl Row {
    /// Bytes of its cells, about.
    pub(super) fn size(&self) -> usize {
        match &self.record {
            Record::Text { bytes, cells } => bytes.len() + size_of_val(&**cells),
            Record::Typed(values) => {
                let texts = values.iter().map(|value| match value {
                    Value::Text(text) => text.len(),
                    _ => 0,
                });
                texts.sum::<usize>() + size_of_val(&**values)
            }
        }
    }

    pub(super) fn cell(&self, column: &Column) -> Cell<'_> {
        match &self.record {
            Record::Text { bytes, cells } => {
                let range = cells.get(column.place).copied().flatten();
                let text = range.and_then(|(begin, end)| bytes.get(begin as usize..end as usize));
                text.map_or(Cell::Empty, Cell::Text)
            }
            Record::Typed(values) => values.get(column.place).map_or(Cell::Empty, Value::cell),
        }
    }

    /// The number in `column`; `None` for an empty cell and for NaN. A time is so many seconds since 1970 or midnight.
    pub(super) fn number_in(&self, column: &Column) -> Result<Option<f64>, Failure> {
        match self.cell(column).number() {
            Found::Is(number) => Ok(Some(number)),
            Found::Missing => Ok(None),
            Found::Not => Err(self.wrong(column, self.expected_number(column))),
        }
    }

    /// The number in `column` as a feature; `None` for an empty cell and for NaN.
    pub(super) fn feature_in(&self, column: &Column) -> Result<Option<f32>, Failure> {
        let Some(number) = self.number_in(column)? else {
            return Ok(None);
        };
        #[allow(clippy::cast_possible_truncation, reason = "features are f32")]
        let feature = number as f32;
        if feature.is_finite() {
            return Ok(Some(feature));
        }
        Err(self.wrong(column, "a number that fits 32 bits, at most 3.4e38"))
    }

    fn expected_number(&self, column: &Column) -> &'static str {
        match self.cell(column).exact() {
            Some(_) => "a finite number",
            None => "a number",
        }
    }

    /// The text in `column`, that of a finite number included; `""` for an empty cell.
    pub(super) fn text_in(&self, column: &Column) -> Result<Cow<'_, str>, Failure> {
        let cell = self.cell(column);
        if cell.is_infinite() {
            return Err(self.wrong(column, "a finite number"));
        }
        let text = cell.text();
        text.ok_or_else(|| self.wrong(column, "text in UTF-8"))
    }

    /// The error of a cell that is not what it should be.
    pub(super) fn wrong(&self, column: &Column, expected: &str) -> Failure {
        self.fail(ConvertError::Cell {
            file: Arc::clone(&self.file),
            place: self.place,
            column: column.name.clone(),
            expected: expected.to_owned(),
            found: self.cell(column).describe(),
        })
    }

    /// `error`, met in this row.
    pub(super) fn fail(&self, error: ConvertError) -> Failure {
        let index = self.index;
        Failure { index, error }
    }
}
