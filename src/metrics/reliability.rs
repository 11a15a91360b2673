//! The reliability table: of the rows predicted at about p, how many are positive?

use serde::{Deserialize, Serialize};

use super::{Metric, Rows, StableMean};

/// Rows by predicted probability in bins of equal width.
///
/// Predictions below 0 or above 1 go to the outermost bins; those that are NaN make the table's error NaN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reliability {
    bins: Vec<(StableMean, StableMean)>,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Lowest probability of the bin; the bin ends where the next one starts.
    pub lower: f64,
    /// Weight of its rows.
    pub weight: f64,
    /// Mean predicted probability of its rows; NaN without rows.
    pub mean_prediction: f64,
    /// Mean label of its rows; NaN without rows.
    pub mean_label: f64,
}

/// The table from the lowest bin to the highest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityTable {
    /// As many as were asked for.
    pub bins: Vec<ReliabilityBin>,
    /// Expected calibration error: mean distance between prediction and label over the bins, by weight. NaN without
    /// rows.
    pub expected_calibration_error: f64,
}

impl Default for Reliability {
    fn default() -> Self {
        Self::new(20)
    }
}

impl Reliability {
    /// With `num_bins` bins, at least one.
    #[must_use]
    pub fn new(num_bins: u16) -> Self {
        let empty = (StableMean::default(), StableMean::default());
        Self {
            bins: vec![empty; usize::from(num_bins.max(1))],
        }
    }

    fn bin_of(&self, probability: f64) -> usize {
        let last = self.bins.len() - 1;
        let position = probability * self.bins.len() as f64;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cast saturates: negative and NaN go to bin 0, the rest is capped"
        )]
        let index = position as usize;
        index.min(last)
    }
}

impl Metric for Reliability {
    type Value = ReliabilityTable;

    fn update(&mut self, rows: &Rows<'_>) {
        for row in rows.iter() {
            let probability = row.probability();
            let index = self.bin_of(probability);
            let (prediction, label) = &mut self.bins[index];
            prediction.add(probability, row.weight);
            label.add(row.label, row.weight);
        }
    }

    fn merge(&mut self, other: &Self) {
        for (bin, others) in self.bins.iter_mut().zip(&other.bins) {
            bin.0.merge(&others.0);
            bin.1.merge(&others.1);
        }
    }

    fn compute(&self) -> ReliabilityTable {
        let width = 1.0 / self.bins.len() as f64;
        let mut error = StableMean::default();
        let mut bins = Vec::with_capacity(self.bins.len());
        for (index, (prediction, label)) in self.bins.iter().enumerate() {
            let bin = ReliabilityBin {
                lower: index as f64 * width,
                weight: label.total_weight(),
                mean_prediction: prediction.compute(),
                mean_label: label.compute(),
            };
            error.add((bin.mean_prediction - bin.mean_label).abs(), bin.weight);
            bins.push(bin);
        }
        ReliabilityTable {
            bins,
            expected_calibration_error: error.compute(),
        }
    }

    fn reset(&mut self) {
        for bin in &mut self.bins {
            *bin = Default::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Scores;
    use crate::metrics::test_support::{check_mergeable, check_silent_without_rows};

    #[test]
    fn merging_any_split_equals_the_whole() {
        let error = |table: &ReliabilityTable| table.expected_calibration_error;
        check_mergeable(&Reliability::default(), 1e-12, error);
        check_silent_without_rows(&Reliability::default(), error);
    }

    #[test]
    fn rows_fall_into_the_bin_of_their_prediction() {
        let mut table = Reliability::new(4);
        let scores = Scores::Probabilities(&[0.0, 0.25, 0.3, 1.0, 1.0]);
        table.update(&Rows::new(scores, &[0.0, 1.0, 0.0, 1.0, 1.0]).unwrap());
        let table = table.compute();
        let weights: Vec<f64> = table.bins.iter().map(|bin| bin.weight).collect();
        assert_eq!(weights, [1.0, 2.0, 0.0, 2.0]);
        assert!((table.bins[1].mean_prediction - 0.275).abs() < 1e-6);
        assert!((table.bins[1].mean_label - 0.5).abs() < 1e-12);
        assert!(table.bins[2].mean_label.is_nan());
        assert!((table.expected_calibration_error - 0.225 * 2.0 / 5.0).abs() < 1e-6);
    }

    #[test]
    fn a_prediction_of_nan_shows() {
        let mut table = Reliability::default();
        table.update(&Rows::new(Scores::Logits(&[f32::NAN]), &[0.0]).unwrap());
        assert!(table.compute().expected_calibration_error.is_nan());
    }
}
