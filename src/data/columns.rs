//! The columns of a batch while its rows are being filled.

use std::collections::TryReserveError;
use std::sync::Arc;

use super::error::RecordError;
use super::schema::{Dtype, Feature, Length};
use crate::batch::{HostTensor, HostValues};

/// Which of the values of a fixed feature are kept, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The first so many.
    First(usize),
    /// Those at these positions, ascending, all inside the feature.
    Picked(Vec<usize>),
}

impl Keep {
    /// How many are kept.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::First(width) => *width,
            Self::Picked(positions) => positions.len(),
        }
    }

    /// Where the `n`-th that is kept stands in the feature.
    pub(crate) fn position(&self, n: usize) -> usize {
        match self {
            Self::First(_) => n,
            Self::Picked(positions) => positions[n],
        }
    }
}

/// What one column holds.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) feature: Feature,
    /// Of a fixed feature; a variable one is kept whole.
    pub(crate) keep: Keep,
    /// ANDed to the bits of each f32.
    pub(crate) mantissa: u32,
}

impl Spec {
    pub(crate) fn new(feature: Feature) -> Self {
        let keep = Keep::First(match feature.length {
            Length::Fixed(length) => length,
            Length::Variable => 0,
        });
        Self {
            feature,
            keep,
            mantissa: u32::MAX,
        }
    }

    /// An empty column with room for `rows` rows.
    pub(crate) fn column(&self, rows: usize) -> Column {
        let size = rows.saturating_mul(self.keep.width());
        let values = match self.feature.dtype {
            Dtype::Float => HostValues::F32(with_room(size)),
            Dtype::Int64 => HostValues::I64(with_room(size)),
            Dtype::Bytes => HostValues::Bytes(with_room(size)),
        };
        Column {
            values,
            ends: (self.feature.length == Length::Variable).then(Vec::new),
        }
    }
}

/// An empty vector, with room for `size` values if there is the memory: else it grows, or fails, with what comes.
fn with_room<T>(size: usize) -> Vec<T> {
    let mut values = Vec::new();
    let _ = values.try_reserve_exact(size);
    values
}

/// The values of one feature over the rows of a batch.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) values: HostValues,
    /// Of a variable feature: where each row ends in `values`.
    pub(crate) ends: Option<Vec<usize>>,
}

impl Column {
    /// Appends a row of defaults: of a variable feature, an empty one.
    ///
    /// # Errors
    /// When there is no memory for them: that a record lacks a feature of the schema bounds nothing.
    pub(crate) fn push_default(&mut self, spec: &Spec) -> Result<(), RecordError> {
        let width = spec.keep.width();
        let pushed = match &mut self.values {
            _ if self.ends.is_some() => Ok(()),
            HostValues::F32(values) => push(values, width, 0.0),
            HostValues::I64(values) => push(values, width, 0),
            HostValues::Bytes(values) => push(values, width, Vec::new()),
            // Columns that are being read hold nothing else.
            _ => Ok(()),
        };
        pushed.map_err(|_| RecordError::NoMemory {
            feature: spec.feature.key.clone(),
            values: width,
        })?;
        self.end_row();
        Ok(())
    }

    /// Marks the end of a row of a variable feature.
    pub(crate) fn end_row(&mut self) {
        let len = match &self.values {
            HostValues::F32(values) => values.len(),
            HostValues::I64(values) => values.len(),
            HostValues::Bytes(values) => values.len(),
            _ => 0,
        };
        if let Some(ends) = &mut self.ends {
            ends.push(len);
        }
    }

    /// Cuts the column to its first `rows` rows, and the beginning of another one off.
    pub(crate) fn truncate(&mut self, rows: usize, spec: &Spec) {
        let len = match &mut self.ends {
            Some(ends) => {
                ends.truncate(rows);
                ends.last().copied().unwrap_or(0)
            }
            None => rows * spec.keep.width(),
        };
        match &mut self.values {
            HostValues::F32(values) => values.truncate(len),
            HostValues::I64(values) => values.truncate(len),
            HostValues::Bytes(values) => values.truncate(len),
            // Columns that are being read hold nothing else.
            _ => {}
        }
    }

    /// The finished column of `rows` rows.
    pub(crate) fn into_tensor(self, spec: &Spec, rows: usize) -> (Arc<str>, HostTensor) {
        let name = Arc::clone(&spec.feature.name);
        let Some(ends) = self.ends else {
            let shape = vec![rows, spec.keep.width()];
            let values = self.values;
            return (name, HostTensor { shape, values });
        };
        let starts = std::iter::once(&0).chain(&ends);
        let longest = ends
            .iter()
            .zip(starts)
            .map(|(end, start)| end - start)
            .max();
        let shape = vec![rows, longest.unwrap_or(0)];
        let values = HostValues::Ragged {
            ends,
            values: Box::new(self.values),
        };
        (name, HostTensor { shape, values })
    }
}

fn push<T: Clone>(values: &mut Vec<T>, width: usize, value: T) -> Result<(), TryReserveError> {
    values.try_reserve(width)?;
    values.resize(values.len() + width, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(length: Length) -> Spec {
        Spec::new(Feature {
            key: "key".to_owned(),
            name: "name".into(),
            dtype: Dtype::Int64,
            length,
            parts: None,
        })
    }

    #[test]
    fn the_beginning_of_a_row_is_cut_off_and_whole_rows_stay() {
        let fixed = spec(Length::Fixed(2));
        let mut column = fixed.column(3);
        column.values = HostValues::I64(vec![1, 2, 3, 4, 5]);
        column.truncate(2, &fixed);
        assert_eq!(column.values, HostValues::I64(vec![1, 2, 3, 4]));

        let variable = spec(Length::Variable);
        let mut column = variable.column(3);
        column.values = HostValues::I64(vec![1, 2, 3, 4, 5]);
        column.ends = Some(vec![0, 3]);
        column.truncate(2, &variable);
        assert_eq!(column.values, HostValues::I64(vec![1, 2, 3]));
        // A row that was read whole in this column, but not in the next one.
        column.truncate(1, &variable);
        assert_eq!(column.values, HostValues::I64(Vec::new()));
        assert_eq!(column.ends, Some(vec![0]));
    }
}
