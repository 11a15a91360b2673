//! Recall: of the positive rows, the share predicted so.

use serde::{Deserialize, Serialize};

use super::{Metric, Rows, StableMean};

/// Weighted share of the positives that have a probability above 0.5; NaN without a positive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recall {
    share: StableMean,
}

impl Metric for Recall {
    type Value = f64;

    fn update(&mut self, rows: &Rows<'_>) {
        for row in rows.iter().filter(|row| row.is_positive()) {
            self.share
                .add(f64::from(u8::from(row.probability() > 0.5)), row.weight);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.share.merge(&other.share);
    }

    fn compute(&self) -> f64 {
        self.share.compute()
    }

    fn reset(&mut self) {
        self.share.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Scores;
    use crate::metrics::test_support::{check_mergeable, check_silent_without_rows};

    #[test]
    fn merging_any_split_equals_the_whole() {
        check_mergeable(&Recall::default(), 1e-12, |value| *value);
        check_silent_without_rows(&Recall::default(), |value| *value);
    }

    #[test]
    fn exactly_one_half_is_not_predicted_positive() {
        let scores = Scores::Probabilities(&[0.5, 0.6, 0.9, 0.1, 0.7]);
        let rows = Rows::new(scores, &[1.0, 1.0, 0.0, 1.0, 1.0]).unwrap();
        let mut metric = Recall::default();
        metric.update(&rows);
        assert!((metric.compute() - 2.0 / 4.0).abs() < 1e-12);
    }
}
