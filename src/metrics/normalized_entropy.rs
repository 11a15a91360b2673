//! Normalised entropy: log loss as a share of what the mean label alone would lose.

use serde::{Deserialize, Serialize};

use super::{Metric, Rce, Rows};

/// CE / CE of always predicting the mean label: 0 is perfect, 1 no better than the mean. Equal to 1 − RCE/100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NormalizedEntropy {
    relative: Rce,
}

impl Metric for NormalizedEntropy {
    type Value = f64;

    fn update(&mut self, rows: &Rows<'_>) {
        self.relative.update(rows);
    }

    fn merge(&mut self, other: &Self) {
        self.relative.merge(&other.relative);
    }

    fn compute(&self) -> f64 {
        1.0 - self.relative.compute() / 100.0
    }

    fn reset(&mut self) {
        self.relative.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Scores;
    use crate::metrics::test_support::{check_mergeable, check_silent_without_rows};

    #[test]
    fn merging_any_split_equals_the_whole() {
        check_mergeable(&NormalizedEntropy::default(), 1e-11, |value| *value);
        check_silent_without_rows(&NormalizedEntropy::default(), |value| *value);
    }

    #[test]
    fn predicting_the_mean_gives_one() {
        let mut entropy = NormalizedEntropy::default();
        let scores = Scores::Probabilities(&[0.5; 2]);
        entropy.update(&Rows::new(scores, &[0.0, 1.0]).unwrap());
        assert!((entropy.compute() - 1.0).abs() < 1e-9);
    }
}
