//! Columns that are cut into ranges: where the mapping says the ranges begin, or how many there are to be.

use std::sync::Arc;

use super::error::{ConvertError, Failure};
use super::row::{Column, Row};
use crate::config::ConversionConfig;

/// A column that is cut into ranges.
#[derive(Debug)]
pub(super) struct Bucketed {
    pub(super) column: Column,
    pub(super) ranges: Ranges,
}

impl Bucketed {
    /// Refuses ranges that the mapping gives in numbers of a column that holds times in `row`.
    pub(super) fn check(&self, row: &Row) -> Result<(), Failure> {
        match self.ranges {
            Ranges::At(_) if row.cell(&self.column).time().is_some() => {
                Err(row.fail(ConvertError::Comparison {
                    file: Arc::clone(&row.file),
                    column: self.column.name.clone(),
                    comparison: "buckets.boundaries".to_owned(),
                    holds: "times",
                    remedy: "give a `count` of ranges, or a column of numbers",
                }))
            }
            _ => Ok(()),
        }
    }
}

/// Where the ranges begin.
#[derive(Clone, Debug)]
pub(super) enum Ranges {
    /// To be found: about so many.
    Count(usize),
    /// Given.
    At(Vec<f64>),
}

/// The ranges of `mapping`; `place` finds the places of columns.
pub(super) fn read(
    mapping: &ConversionConfig,
    place: &mut dyn FnMut(&[String]) -> Vec<Column>,
) -> Result<Vec<Bucketed>, ConvertError> {
    let mut buckets = Vec::new();
    for (i, group) in mapping.buckets.iter().enumerate() {
        let ranges = match (&group.boundaries, group.count) {
            (Some(boundaries), _) => {
                let is_ascending = boundaries.windows(2).all(|pair| pair[0] < pair[1]);
                if !is_ascending || boundaries.iter().any(|end| !end.is_finite()) {
                    let key = format!("buckets[{i}].boundaries");
                    return Err(ConvertError::setting(key, "expected ascending numbers"));
                }
                Ranges::At(boundaries.clone())
            }
            (None, count) => {
                let count = count.map_or(1, |count| count.get());
                Ranges::Count(usize::try_from(count).unwrap_or(usize::MAX).min(1 << 16))
            }
        };
        for column in place(&group.columns) {
            let ranges = ranges.clone();
            buckets.push(Bucketed { column, ranges });
        }
    }
    Ok(buckets)
}
