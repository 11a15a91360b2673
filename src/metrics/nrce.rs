//! Relative cross-entropy after correcting the mean prediction: ranking and shape, without the calibration error.

use serde::{Deserialize, Serialize};

use super::{CrossEntropyConfig, Metric, Rows, StableMean};

/// [`Rce`](super::Rce) of the predictions scaled by (mean label so far / mean prediction so far), both with the batch
/// at hand included.
///
/// "So far" makes it depend on the order and size of the batches, as in the original: rows that came early keep the
/// scale of their time. Merging is exact for what each side has computed, yet ranks that saw parts of the data differ
/// slightly from one that saw all of it; the scales agree better the longer each side ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Nrce {
    config: CrossEntropyConfig,
    cross_entropy: StableMean,
    label: StableMean,
    prediction: StableMean,
}

impl Nrce {
    /// With smoothed labels or another distance from the ends of the scale.
    #[must_use]
    pub fn new(config: CrossEntropyConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }
}

impl Metric for Nrce {
    type Value = f64;

    fn update(&mut self, rows: &Rows<'_>) {
        for row in rows.iter() {
            self.label.add(self.config.smooth(row.label), row.weight);
            self.prediction.add(row.probability(), row.weight);
        }
        let scale = self.label.compute() / self.prediction.compute();
        for row in rows.iter() {
            let scaled = row.probability() * scale;
            let label = self.config.smooth(row.label);
            let loss = self.config.of_probability(scaled, label);
            self.cross_entropy.add(loss, row.weight);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.cross_entropy.merge(&other.cross_entropy);
        self.label.merge(&other.label);
        self.prediction.merge(&other.prediction);
    }

    fn compute(&self) -> f64 {
        let baseline = self.config.baseline(self.label.compute());
        100.0 * (1.0 - self.cross_entropy.compute() / baseline)
    }

    fn reset(&mut self) {
        *self = Self::new(self.config);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Scores;
    use crate::metrics::test_support::{Sample, check_silent_without_rows};

    #[test]
    fn a_constant_factor_in_the_predictions_does_not_matter() {
        let labels = [1.0, 0.0, 1.0, 0.0];
        let mut twice = Nrce::default();
        twice.update(&Rows::new(Scores::Probabilities(&[0.4, 0.2, 0.6, 0.2]), &labels).unwrap());
        let mut once = Nrce::default();
        once.update(&Rows::new(Scores::Probabilities(&[0.2, 0.1, 0.3, 0.1]), &labels).unwrap());
        assert!((twice.compute() - once.compute()).abs() < 1e-5);
        check_silent_without_rows(&Nrce::default(), |value| *value);
    }

    #[test]
    fn merging_parts_of_the_same_mix_comes_close_to_the_whole() {
        let sample = Sample::new(3, 40_000);
        let mut whole = Nrce::default();
        whole.update(&sample.rows());
        let mut merged = Nrce::default();
        for part in sample.parts(4) {
            let mut one = Nrce::default();
            one.update(&part.rows());
            merged.merge(&one);
        }
        assert!((whole.compute() - merged.compute()).abs() < 0.1);
    }
}
