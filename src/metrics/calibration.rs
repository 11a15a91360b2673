//! Whether the model expects as many positives as there are.

use serde::{Deserialize, Serialize};

use super::{Metric, Rows, StableMean};

/// Mean prediction / mean label: 1 is calibrated on the whole, above 1 the model expects too much.
///
/// NaN without rows or without a positive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    prediction: StableMean,
    label: StableMean,
}

impl Metric for Calibration {
    type Value = f64;

    fn update(&mut self, rows: &Rows<'_>) {
        for row in rows.iter() {
            self.prediction.add(row.probability(), row.weight);
            self.label.add(row.label, row.weight);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.prediction.merge(&other.prediction);
        self.label.merge(&other.label);
    }

    fn compute(&self) -> f64 {
        let label = self.label.compute();
        if label > 0.0 {
            self.prediction.compute() / label
        } else {
            f64::NAN
        }
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Scores;
    use crate::metrics::test_support::{check_mergeable, check_silent_without_rows};

    #[test]
    fn merging_any_split_equals_the_whole() {
        check_mergeable(&Calibration::default(), 1e-12, |value| *value);
        check_silent_without_rows(&Calibration::default(), |value| *value);
    }

    #[test]
    fn expecting_twice_as_many_gives_two() {
        let mut calibration = Calibration::default();
        let scores = Scores::Probabilities(&[0.5; 4]);
        calibration.update(&Rows::new(scores, &[0.0, 0.0, 1.0, 0.0]).unwrap());
        assert!((calibration.compute() - 2.0).abs() < 1e-12);
        calibration.reset();
        calibration.update(&Rows::new(scores, &[0.0; 4]).unwrap());
        assert!(calibration.compute().is_nan());
    }
}
