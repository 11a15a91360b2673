//! What is in batches: one line per feature over all of them.

use std::fmt;

use crate::batch::{HostBatch, HostTensor, HostValues};
use crate::printable;

/// Statistics of every feature over the batches added, in the order of the first one.
#[derive(Debug, Default)]
pub(super) struct Summary {
    batches: u64,
    columns: Vec<(String, Statistics)>,
}

/// Of one feature.
#[derive(Debug)]
struct Statistics {
    /// Of the first batch.
    shape: Vec<usize>,
    dtype: &'static str,
    values: u64,
    /// Values that equal the default: zero, false, the empty string.
    zeros: u64,
    non_finite: u64,
    /// Sum of the finite values.
    sum: f64,
    min: f64,
    max: f64,
}

impl Summary {
    /// Takes in one batch.
    pub(super) fn add(&mut self, batch: &HostBatch) {
        self.batches += 1;
        for (name, tensor) in &batch.features {
            self.add_tensor(name, tensor);
        }
        if let Some(labels) = &batch.labels {
            self.add_tensor("labels", labels);
        }
        if let Some(weights) = &batch.weights {
            self.add_tensor("weights", weights);
        }
    }

    fn add_tensor(&mut self, name: &str, tensor: &HostTensor) {
        let index = self.columns.iter().position(|(known, _)| known == name);
        let index = index.unwrap_or_else(|| {
            self.columns.push((name.to_owned(), Statistics::of(tensor)));
            self.columns.len() - 1
        });
        self.columns[index].1.add(&tensor.values);
    }
}

impl Statistics {
    fn of(tensor: &HostTensor) -> Self {
        Self {
            shape: tensor.shape.clone(),
            dtype: dtype(&tensor.values),
            values: 0,
            zeros: 0,
            non_finite: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "statistics are shown with a few digits"
    )]
    fn add(&mut self, values: &HostValues) {
        match values {
            HostValues::F32(values) => self.add_numbers(values.iter().map(|&value| value.into())),
            HostValues::I64(values) => self.add_numbers(values.iter().map(|&value| value as f64)),
            HostValues::Bool(values) => {
                self.add_numbers(values.iter().map(|&value| f64::from(u8::from(value))));
            }
            HostValues::U8(values) => self.add_numbers(values.iter().map(|&value| value.into())),
            HostValues::Bytes(values) => {
                self.values += values.len() as u64;
                self.zeros += values.iter().filter(|value| value.is_empty()).count() as u64;
            }
            HostValues::Ragged { values, .. } => self.add(values),
        }
    }

    fn add_numbers(&mut self, values: impl Iterator<Item = f64>) {
        for value in values {
            self.values += 1;
            if value.is_finite() {
                self.zeros += u64::from(value == 0.0);
                self.sum += value;
                self.min = self.min.min(value);
                self.max = self.max.max(value);
            } else {
                self.non_finite += 1;
            }
        }
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "statistics are shown with a few digits"
    )]
    fn row(&self, name: &str) -> [String; 8] {
        let has_numbers = self.min <= self.max;
        let shown = |value: f64| {
            if has_numbers {
                number(value)
            } else {
                "-".to_owned()
            }
        };
        let finite = (self.values - self.non_finite) as f64;
        let share = 100.0 * self.zeros as f64 / (self.values as f64).max(1.0);
        [
            name.to_owned(),
            format!("{:?}", self.shape),
            self.dtype.to_owned(),
            shown(self.min),
            shown(self.sum / finite),
            shown(self.max),
            format!("{share:.1}%"),
            self.non_finite.to_string(),
        ]
    }
}

fn dtype(values: &HostValues) -> &'static str {
    match values {
        HostValues::F32(_) => "f32",
        HostValues::I64(_) => "i64",
        HostValues::Bool(_) => "bool",
        HostValues::U8(_) => "u8",
        HostValues::Bytes(_) => "bytes",
        HostValues::Ragged { values, .. } => match **values {
            HostValues::F32(_) => "ragged f32",
            HostValues::I64(_) => "ragged i64",
            _ => "ragged bytes",
        },
    }
}

/// Few digits, of use for shares as well as for ids.
fn number(value: f64) -> String {
    if value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
        let text = format!("{value:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{value:.3e}")
    }
}

const HEAD: [&str; 8] = [
    "feature", "shape", "dtype", "min", "mean", "max", "zeros", "nan/inf",
];

/// Columns of text; the others are numbers, which line up on the right.
const TEXT_COLUMNS: usize = 3;

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![HEAD.map(str::to_owned)];
        let columns = self.columns.iter();
        rows.extend(columns.map(|(name, statistics)| statistics.row(&printable::line(name))));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths: Vec<usize> = (0..HEAD.len())
            .map(|column| width(column).unwrap_or(0))
            .collect();
        for row in &rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                line.push_str(&if column < TEXT_COLUMNS {
                    format!("{cell:<width$}  ")
                } else {
                    format!("{cell:>width$}  ")
                });
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        let plural = if self.batches == 1 { "" } else { "es" };
        writeln!(f, "{} batch{plural}", self.batches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(values: HostValues, width: usize) -> HostTensor {
        let shape = vec![2, width];
        HostTensor { shape, values }
    }

    #[test]
    fn numbers_zeros_and_what_is_not_finite_are_counted_over_all_batches() {
        let batch = |values: [f32; 4]| HostBatch {
            rows: 2,
            features: vec![(
                "continuous".into(),
                tensor(HostValues::F32(values.to_vec()), 2),
            )],
            labels: Some(tensor(HostValues::I64(vec![0, 1]), 1)),
            weights: None,
        };
        let mut summary = Summary::default();
        summary.add(&batch([0.0, -2.5, f32::NAN, 1.0]));
        summary.add(&batch([0.0, 0.0, f32::INFINITY, 4.5]));
        let text = summary.to_string();
        let row: Vec<&str> = text
            .lines()
            .nth(1)
            .unwrap()
            .split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect();
        assert_eq!(
            row,
            [
                "continuous",
                "[2, 2]",
                "f32",
                "-2.5",
                "0.5",
                "4.5",
                "37.5%",
                "2"
            ]
        );
        assert!(
            text.contains("labels") && text.ends_with("2 batches\n"),
            "{text}"
        );
    }

    #[test]
    fn a_feature_without_finite_numbers_has_no_range() {
        let mut summary = Summary::default();
        summary.add_tensor("text", &tensor(HostValues::Bytes(vec![vec![], vec![1]]), 1));
        summary.add_tensor("nan", &tensor(HostValues::F32(vec![f32::NAN; 2]), 1));
        let text = summary.to_string();
        assert_eq!(
            text.lines().filter(|line| line.contains(" - ")).count(),
            2,
            "{text}"
        );
        assert!(text.contains("50.0%"), "{text}");
    }
}
