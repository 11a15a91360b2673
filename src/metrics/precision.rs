//! Precision: of the rows predicted positive, the share that is.

use serde::{Deserialize, Serialize};

use super::{Metric, Rows, StableMean};

/// Weighted share of positives among the rows with a probability above 0.5; NaN where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Precision {
    share: StableMean,
}

impl Metric for Precision {
    type Value = f64;

    fn update(&mut self, rows: &Rows<'_>) {
        for row in rows.iter().filter(|row| row.probability() > 0.5) {
            self.share
                .add(f64::from(u8::from(row.is_positive())), row.weight);
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
        check_mergeable(&Precision::default(), 1e-12, |value| *value);
        check_silent_without_rows(&Precision::default(), |value| *value);
    }

    #[test]
    fn exactly_one_half_is_not_predicted_positive() {
        let scores = Scores::Probabilities(&[0.5, 0.6, 0.9, 0.1, 0.7]);
        let rows = Rows::new(scores, &[1.0, 1.0, 0.0, 1.0, 1.0]).unwrap();
        let mut metric = Precision::default();
        metric.update(&rows);
        assert!((metric.compute() - 2.0 / 3.0).abs() < 1e-12);
    }
}
