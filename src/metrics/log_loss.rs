//! Log loss: mean binary cross-entropy, the quantity the training minimises.

use serde::{Deserialize, Serialize};

use super::{CrossEntropyConfig, Metric, Rows, StableMean};

/// Weighted mean cross-entropy in nats, 0 and up; NaN without rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogLoss {
    config: CrossEntropyConfig,
    mean: StableMean,
}

impl LogLoss {
    /// With smoothed labels or another distance from the ends of the scale.
    #[must_use]
    pub fn new(config: CrossEntropyConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }
}

impl Metric for LogLoss {
    type Value = f64;

    fn update(&mut self, rows: &Rows<'_>) {
        for row in rows.iter() {
            let label = self.config.smooth(row.label);
            self.mean.add(self.config.of_row(&row, label), row.weight);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.mean.merge(&other.mean);
    }

    fn compute(&self) -> f64 {
        self.mean.compute()
    }

    fn reset(&mut self) {
        self.mean.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Scores;
    use crate::metrics::test_support::{check_mergeable, check_silent_without_rows};

    #[test]
    fn merging_any_split_equals_the_whole() {
        check_mergeable(&LogLoss::default(), 1e-12, |value| *value);
        check_silent_without_rows(&LogLoss::default(), |value| *value);
    }

    #[test]
    fn an_undecided_model_loses_ln_2() {
        let mut loss = LogLoss::default();
        loss.update(&Rows::new(Scores::Logits(&[0.0, 0.0]), &[1.0, 0.0]).unwrap());
        assert!((loss.compute() - std::f64::consts::LN_2).abs() < 1e-12);
    }
}
