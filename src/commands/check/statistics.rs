//! What is counted of each feature and label of the sample.

use std::sync::Arc;

use serde::Serialize;

use crate::batch::{HostTensor, HostValues};
use crate::config::RecapConfig;

/// Values of a feature that are shown of the first record.
const SHOWN: usize = 3;

/// One feature over the sample.
#[derive(Debug, Serialize)]
pub(super) struct Feature {
    pub(super) name: String,
    pub(super) kind: &'static str,
    /// Columns; the longest row of a feature of variable length.
    pub(super) width: usize,
    /// The values of the first record, in words.
    pub(super) first_record: String,
    pub(super) values: u64,
    /// Values other than 0 (or empty), the default of a record that lacks the feature.
    pub(super) set: u64,
    pub(super) non_finite: u64,
    /// By column, whether it was ever set; empty for strings and variable lengths.
    #[serde(skip)]
    pub(super) columns: Vec<bool>,
}

/// One label over the sample.
#[derive(Debug, Serialize)]
pub(super) struct Label {
    pub(super) name: String,
    /// Whether the model has a task of this name.
    pub(super) is_used: bool,
    /// Share of rows whose label is 1.
    pub(super) positive_rate: f64,
    #[serde(skip)]
    pub(super) values: Vec<f32>,
}

impl Feature {
    /// The feature with the values of the first row, nothing counted yet.
    pub(super) fn of_first((name, tensor): &(Arc<str>, HostTensor)) -> Self {
        let width = tensor.shape[1..].iter().product();
        let (kind, is_fixed) = match &tensor.values {
            HostValues::F32(_) => ("f32", true),
            HostValues::I64(_) => ("i64", true),
            HostValues::Bool(_) => ("bool", true),
            HostValues::U8(_) => ("u8", true),
            HostValues::Bytes(_) => ("bytes", false),
            HostValues::Ragged { .. } => ("any length", false),
        };
        Self {
            name: name.to_string(),
            kind,
            width,
            first_record: first_row(tensor, width),
            values: 0,
            set: 0,
            non_finite: 0,
            columns: vec![false; if is_fixed { width } else { 0 }],
        }
    }

    pub(super) fn add(&mut self, tensor: &HostTensor) {
        self.width = self.width.max(tensor.shape[1..].iter().product());
        match &tensor.values {
            HostValues::Bytes(values) => {
                self.values += values.len() as u64;
                self.set += values.iter().filter(|value| !value.is_empty()).count() as u64;
            }
            values => self.add_numbers(&numbers(values)),
        }
    }

    fn add_numbers(&mut self, values: &[f32]) {
        let width = self.columns.len();
        for (i, value) in values.iter().enumerate() {
            self.values += 1;
            self.non_finite += u64::from(!value.is_finite());
            if value.abs() > 0.0 || value.is_nan() {
                self.set += 1;
                if width > 0 {
                    self.columns[i % width] = true;
                }
            }
        }
    }

    /// Columns that were 0 in every row.
    pub(super) fn never_set(&self) -> usize {
        self.columns.iter().filter(|set| !**set).count()
    }

    pub(super) fn cells(&self) -> [String; 6] {
        let share = self.set as f64 / self.values.max(1) as f64;
        [
            self.name.clone(),
            self.first_record.clone(),
            self.kind.to_owned(),
            self.width.to_string(),
            format!("{:.1} %", 100.0 * share),
            self.never_set().to_string(),
        ]
    }
}

impl Label {
    pub(super) fn new(name: &str, config: &RecapConfig) -> Self {
        Self {
            name: name.to_owned(),
            is_used: config.model.tasks.contains_key(name),
            positive_rate: 0.0,
            values: Vec::new(),
        }
    }

    pub(super) fn cells(&self) -> [String; 3] {
        let used = if self.is_used { "yes" } else { "no" };
        [
            self.name.clone(),
            used.to_owned(),
            format!("{:.3}", 100.0 * self.positive_rate),
        ]
    }
}

/// The values as numbers; none for strings. Integers beyond 2^24 are rounded, which no statistic here minds.
pub(super) fn numbers(values: &HostValues) -> Vec<f32> {
    match values {
        HostValues::F32(values) => values.clone(),
        HostValues::I64(values) => values.iter().map(|value| *value as f32).collect(),
        HostValues::Bool(values) => values.iter().map(|value| f32::from(*value)).collect(),
        HostValues::U8(values) => values.iter().map(|value| f32::from(*value)).collect(),
        HostValues::Bytes(_) => Vec::new(),
        HostValues::Ragged { values, .. } => numbers(values),
    }
}

/// The first values of the first row.
fn first_row(tensor: &HostTensor, width: usize) -> String {
    fn list<T: ToString>(values: &[T], width: usize) -> String {
        let shown: Vec<String> = values
            .iter()
            .take(width.min(SHOWN))
            .map(T::to_string)
            .collect();
        let more = if width > SHOWN { ", …" } else { "" };
        format!("[{}{more}]", shown.join(", "))
    }
    match &tensor.values {
        HostValues::F32(values) => {
            let values: Vec<String> = values.iter().take(SHOWN).map(short).collect();
            list(&values, width)
        }
        HostValues::I64(values) => list(values, width),
        HostValues::Bool(values) => list(values, width),
        HostValues::U8(values) => list(values, width),
        HostValues::Bytes(values) => format!("{} strings", values.len().min(width)),
        HostValues::Ragged { ends, .. } => {
            format!("{} values", ends.first().copied().unwrap_or(0))
        }
    }
}

/// Four digits that matter, without zeros at the end.
fn short(value: &f32) -> String {
    let size = value.abs();
    if size > 0.0 && !(1e-3..1e6).contains(&size) {
        return format!("{value:.3e}");
    }
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_values_are_short() {
        let tensor = HostTensor {
            shape: vec![1, 5],
            values: HostValues::F32(vec![0.559_421_36, 3.0, 1.5e-7, 9.0, 9.0]),
        };
        assert_eq!(first_row(&tensor, 5), "[0.5594, 3, 1.500e-7, …]");
        let odd = HostTensor {
            shape: vec![1, 2],
            values: HostValues::F32(vec![f32::NAN, f32::INFINITY]),
        };
        assert_eq!(first_row(&odd, 2), "[NaN, inf]");
    }
}
