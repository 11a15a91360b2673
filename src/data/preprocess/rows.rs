//! A batch on its way through the steps: labels are still features like any other.

use std::sync::Arc;

use crate::batch::{HostTensor, HostValues};
use crate::data::error::DataError;

/// Rows read, and what was made of them so far.
#[derive(Debug)]
pub(in crate::data) struct Rows {
    /// How many.
    pub(in crate::data) count: usize,
    /// By name; `[rows, width]`, or `[rows]` for extracted columns.
    pub(in crate::data) columns: Vec<(Arc<str>, HostTensor)>,
    /// `[rows, T]` f32.
    pub(in crate::data) weights: Option<Vec<f32>>,
    /// `T` of the weights.
    pub(in crate::data) weights_width: usize,
    /// Which of the rows read each row is.
    pub(in crate::data) origin: Vec<usize>,
}

impl Rows {
    pub(in crate::data) fn new(count: usize, columns: Vec<(Arc<str>, HostTensor)>) -> Self {
        Self {
            count,
            columns,
            weights: None,
            weights_width: 0,
            origin: (0..count).collect(),
        }
    }

    /// The column `name`; the error blames `key` of the config.
    pub(super) fn column(&self, name: &str, key: &str) -> Result<&HostTensor, DataError> {
        let column = self.columns.iter().find(|(known, _)| **known == *name);
        column
            .map(|(_, tensor)| tensor)
            .ok_or_else(|| missing(name, key))
    }

    pub(super) fn column_mut(
        &mut self,
        name: &str,
        key: &str,
    ) -> Result<&mut HostTensor, DataError> {
        let column = self.columns.iter_mut().find(|(known, _)| **known == *name);
        column
            .map(|(_, tensor)| tensor)
            .ok_or_else(|| missing(name, key))
    }

    /// The int64 column `name` with one value per row.
    pub(super) fn integers(&self, name: &str, key: &str) -> Result<&[i64], DataError> {
        let column = self.column(name, key)?;
        match &column.values {
            HostValues::I64(values) if column.shape[1..].iter().all(|&size| size == 1) => {
                Ok(values)
            }
            _ => Err(DataError::setting(
                key,
                format!("`{name}` must be an int64 feature of length 1"),
            )),
        }
    }

    /// Takes the column `name` out.
    pub(in crate::data) fn take(&mut self, name: &str) -> Option<HostTensor> {
        let index = self
            .columns
            .iter()
            .position(|(known, _)| **known == *name)?;
        Some(self.columns.remove(index).1)
    }

    /// Keeps `rows`, in that order.
    pub(super) fn select(&mut self, rows: &[usize]) {
        for (_, column) in &mut self.columns {
            select(column, self.count, rows);
        }
        if let Some(weights) = &mut self.weights {
            *weights = pick(weights, self.weights_width, rows);
        }
        self.origin = rows.iter().map(|&row| self.origin[row]).collect();
        self.count = rows.len();
    }
}

fn missing(name: &str, key: &str) -> DataError {
    DataError::setting(
        key,
        format!("no feature or label `{name}` is read: add it to seg_dense_schema.features"),
    )
}

fn pick<T: Clone>(values: &[T], width: usize, rows: &[usize]) -> Vec<T> {
    let mut picked = Vec::with_capacity(rows.len() * width);
    for &row in rows {
        picked.extend_from_slice(&values[row * width..(row + 1) * width]);
    }
    picked
}

fn select(column: &mut HostTensor, count: usize, rows: &[usize]) {
    let width: usize = column.shape[1..].iter().product();
    column.values = match &column.values {
        HostValues::F32(values) => HostValues::F32(pick(values, width, rows)),
        HostValues::I64(values) => HostValues::I64(pick(values, width, rows)),
        HostValues::Bool(values) => HostValues::Bool(pick(values, width, rows)),
        HostValues::U8(values) => HostValues::U8(pick(values, width, rows)),
        HostValues::Bytes(values) => HostValues::Bytes(pick(values, width, rows)),
        HostValues::Ragged { ends, values } => {
            let (ragged, longest) = select_ragged(ends, values, count, rows);
            column.shape[1] = longest;
            ragged
        }
    };
    column.shape[0] = rows.len();
}

/// The chosen rows of a ragged column, and the length of the longest.
fn select_ragged(
    ends: &[usize],
    values: &HostValues,
    count: usize,
    rows: &[usize],
) -> (HostValues, usize) {
    let span = |row: usize| if row == 0 { 0 } else { ends[row - 1] }..ends[row];
    debug_assert_eq!(ends.len(), count, "one end per row");
    let cells: Vec<usize> = rows.iter().flat_map(|&row| span(row)).collect();
    let values = match values {
        HostValues::F32(values) => HostValues::F32(pick(values, 1, &cells)),
        HostValues::I64(values) => HostValues::I64(pick(values, 1, &cells)),
        HostValues::Bytes(values) => HostValues::Bytes(pick(values, 1, &cells)),
        other => other.clone(),
    };
    let mut end = 0;
    let mut new_ends = Vec::with_capacity(rows.len());
    let mut longest = 0;
    for &row in rows {
        longest = longest.max(span(row).len());
        end += span(row).len();
        new_ends.push(end);
    }
    let values = Box::new(values);
    (
        HostValues::Ragged {
            ends: new_ends,
            values,
        },
        longest,
    )
}
