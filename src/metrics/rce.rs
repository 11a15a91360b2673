//! Relative cross-entropy: how much better than the best constant prediction, in percent.

use serde::{Deserialize, Serialize};

use super::{CrossEntropyConfig, Metric, Rows, StableMean};

/// 100·(1 − CE / CE of always predicting the mean label): 100 is perfect, 0 no better than the mean, below 0 worse.
///
/// NaN unless the (smoothed) labels have something of both classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rce {
    config: CrossEntropyConfig,
    cross_entropy: StableMean,
    label: StableMean,
}

impl Rce {
    /// With smoothed labels or another distance from the ends of the scale.
    #[must_use]
    pub fn new(config: CrossEntropyConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }
}

impl Metric for Rce {
    type Value = f64;

    fn update(&mut self, rows: &Rows<'_>) {
        for row in rows.iter() {
            let label = self.config.smooth(row.label);
            self.label.add(label, row.weight);
            let loss = self.config.of_row(&row, label);
            self.cross_entropy.add(loss, row.weight);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.cross_entropy.merge(&other.cross_entropy);
        self.label.merge(&other.label);
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
    use crate::metrics::test_support::{check_mergeable, check_silent_without_rows};

    #[test]
    fn merging_any_split_equals_the_whole() {
        check_mergeable(&Rce::default(), 1e-9, |value| *value);
        check_silent_without_rows(&Rce::default(), |value| *value);
    }

    #[test]
    fn predicting_the_mean_is_worth_nothing_and_one_class_is_unknown() {
        let mut rce = Rce::default();
        let scores = Scores::Probabilities(&[0.25; 4]);
        rce.update(&Rows::new(scores, &[0.0, 0.0, 1.0, 0.0]).unwrap());
        assert!(rce.compute().abs() < 1e-9);
        rce.reset();
        rce.update(&Rows::new(scores, &[0.0; 4]).unwrap());
        assert!(rce.compute().is_nan());
    }
}
