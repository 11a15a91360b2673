//! The statistics file of `z_score_log_config`: mean and standard deviation of the log of every continuous column.
//!
//! The file is JSON, `{"mean": [m1, m2, …], "std": [s1, s2, …]}`: one number per column that is left after
//! preprocessing, in order; of `sign(x)·log(1 + |x|)`, with 0 for what is not finite; the deviation is that of the
//! whole population (divided by N).

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::regular_file::{self, MAX_TEXT_BYTES};
use crate::torch::TorchError;
use crate::whole_file;

/// Mean and standard deviation of the log of every continuous column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogStatistics {
    /// By column.
    pub mean: Vec<f64>,
    /// By column, at least 0. A column of deviation 0 is only shifted.
    pub std: Vec<f64>,
}

/// Why a statistics file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StatisticsError {
    /// It cannot be read or written.
    #[error("{}: cannot be read or written", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no such file.
    #[error(
        r#"{}: expected {{"mean": [...], "std": [...]}} with a number per column"#,
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// It belongs to other columns.
    #[error(
        "{}: expected {expected} columns, found {means} means and {stds} deviations",
        path.display()
    )]
    Columns {
        /// The file.
        path: PathBuf,
        /// Continuous columns after preprocessing.
        expected: usize,
        /// Means in the file.
        means: usize,
        /// Deviations in the file.
        stds: usize,
    },
    /// A deviation is negative.
    #[error("{}: expected a deviation of at least 0 in column {column}, found {found}", path.display())]
    Deviation {
        /// The file.
        path: PathBuf,
        /// From 0.
        column: usize,
        /// What the file says.
        found: f64,
    },
}

/// sign(x)·log(1 + |x|); what is not finite counts as 0.
pub(super) fn signed_log(x: &Tensor) -> Result<Tensor, TorchError> {
    let mut x = x.f_nan_to_num(0.0, 0.0, 0.0)?;
    let sign = x.f_sign()?;
    Ok(x.f_abs_()?.f_log1p_()?.f_mul_(&sign)?)
}

impl LogStatistics {
    /// Reads the statistics of `columns` columns.
    ///
    /// # Errors
    /// When the file cannot be read, is no statistics file, or is one of other columns.
    pub fn read(path: &Path, columns: usize) -> Result<Self, StatisticsError> {
        let text =
            regular_file::read(path, MAX_TEXT_BYTES).map_err(|source| StatisticsError::Io {
                path: path.to_owned(),
                source,
            })?;
        let read: Self =
            serde_json::from_slice(&text).map_err(|source| StatisticsError::Format {
                path: path.to_owned(),
                source,
            })?;
        let [means, stds] = [read.mean.len(), read.std.len()];
        if [means, stds] != [columns; 2] {
            return Err(StatisticsError::Columns {
                path: path.to_owned(),
                expected: columns,
                means,
                stds,
            });
        }
        match read.std.iter().position(|&std| std < 0.0) {
            Some(column) => Err(StatisticsError::Deviation {
                path: path.to_owned(),
                column,
                found: read.std[column],
            }),
            None => Ok(read),
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), StatisticsError> {
        let io = |source| StatisticsError::Io {
            path: path.to_owned(),
            source,
        };
        let text = serde_json::to_vec(self).map_err(|error| io(error.into()))?;
        whole_file::write(path, &text).map_err(io)
    }
}

/// Computes the statistics from batches, one after another.
#[derive(Debug, Default)]
pub struct LogMoments {
    rows: f64,
    /// Mean and sum of squared differences from it, both `[Fc]` f64.
    sums: Option<(Tensor, Tensor)>,
}

impl LogMoments {
    /// Takes in the continuous features of a batch, `[B, Fc]` with the same `Fc` every time.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn add(&mut self, continuous: &Tensor) -> Result<(), TorchError> {
        let rows = continuous.size().first().copied().unwrap_or(0) as f64;
        if rows == 0.0 {
            return Ok(());
        }
        let logs = signed_log(continuous)?.f_to_kind(Kind::Double)?;
        let mean = logs.f_mean_dim(0, false, Kind::Double)?;
        let squares = (logs.f_sub(&mean)?.f_square()?).f_sum_dim_intlist(0, false, Kind::Double)?;
        let total = self.rows + rows;
        self.sums = Some(match &self.sums {
            None => (mean, squares),
            Some((old, old_squares)) => {
                let shift = mean.f_sub(old)?;
                let between = shift.f_square()?.f_mul_scalar(self.rows * rows / total)?;
                (
                    old.f_add(&shift.f_mul_scalar(rows / total)?)?,
                    old_squares.f_add(&squares)?.f_add(&between)?,
                )
            }
        });
        self.rows = total;
        Ok(())
    }

    /// The statistics of everything so far; `None` before the first row.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn finish(&self) -> Result<Option<LogStatistics>, TorchError> {
        let Some((mean, squares)) = &self.sums else {
            return Ok(None);
        };
        let std = squares.f_div_scalar(self.rows)?.f_sqrt()?;
        Ok(Some(LogStatistics {
            mean: Vec::try_from(mean)?,
            std: Vec::try_from(&std)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn batches_add_up_to_the_statistics_of_all_rows() {
        let rows =
            Tensor::from_slice(&[1.0_f32, 5.0, -2.0, 5.0, f32::NAN, 5.0, 8.0, 5.0, 0.5, 5.0])
                .view([5, 2]);
        let mut moments = LogMoments::default();
        assert_eq!(moments.finish().unwrap(), None);
        for (begin, count) in [(0, 2), (2, 0), (2, 3)] {
            moments.add(&rows.narrow(0, begin, count)).unwrap();
        }
        let found = moments.finish().unwrap().unwrap();
        let logs = [2.0, 1.0 / 3.0, 1.0, 9.0, 1.5].map(f64::ln);
        let mean = logs.iter().sum::<f64>() / 5.0;
        let variance = logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / 5.0;
        assert!((found.mean[0] - mean).abs() < 1e-7);
        assert!((found.std[0] - variance.sqrt()).abs() < 1e-7);
        assert!((found.mean[1] - 6f64.ln()).abs() < 1e-7);
        assert!(found.std[1].abs() < 1e-12);
    }

    #[test]
    fn what_is_written_is_read_again_and_what_does_not_fit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("statistics.json");
        let statistics = LogStatistics {
            mean: vec![0.1, -2.0],
            std: vec![0.0, 1.5],
        };
        statistics.write(&path).unwrap();
        assert_eq!(LogStatistics::read(&path, 2).unwrap(), statistics);
        let message = LogStatistics::read(&path, 3).unwrap_err().to_string();
        assert!(
            message.ends_with("expected 3 columns, found 2 means and 2 deviations"),
            "{message}"
        );
        for (text, expected) in [
            (
                r#"{"mean": [0], "std": [-1]}"#,
                "expected a deviation of at least 0 in column 0, found -1",
            ),
            (
                r#"{"mean": [0]}"#,
                r#"expected {"mean": [...], "std": [...]}"#,
            ),
        ] {
            fs::write(&path, text).unwrap();
            let message = LogStatistics::read(&path, 1).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
