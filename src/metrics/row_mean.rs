//! The metrics that are a weighted mean of one number of each row.

use serde::{Deserialize, Serialize};

use super::rows::Row;
use super::{CrossEntropyConfig, Metric, Rows, StableMean};

/// What a [`RowMean`] is the mean of. Rows that have no such number have no say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowValue {
    /// The label: click-through rate, where the label is a click.
    Label,
    /// The predicted probability.
    Prediction,
    /// The cross-entropy in nats, which the training minimises.
    LogLoss,
    /// Of the rows with a probability above 0.5, whether they are positive.
    Precision,
    /// Of the positive rows, whether their probability is above 0.5.
    Recall,
}

impl RowValue {
    fn of(self, row: &Row) -> Option<f64> {
        let share = |holds: bool| f64::from(u8::from(holds));
        let is_predicted = row.probability() > 0.5;
        match self {
            Self::Label => Some(row.label),
            Self::Prediction => Some(row.probability()),
            Self::LogLoss => Some(CrossEntropyConfig::default().of_row(row, row.label)),
            Self::Precision => is_predicted.then(|| share(row.is_positive())),
            Self::Recall => row.is_positive().then(|| share(is_predicted)),
        }
    }
}

/// Weighted mean over the rows; NaN without any.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowMean {
    value: RowValue,
    mean: StableMean,
}

impl RowMean {
    /// The mean of `value`, over no rows yet.
    #[must_use]
    pub fn new(value: RowValue) -> Self {
        Self {
            value,
            mean: StableMean::default(),
        }
    }

    /// The value of every row times its weight, summed; 0 without any.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.mean.sum()
    }
}

impl Metric for RowMean {
    type Value = f64;

    fn update(&mut self, rows: &Rows<'_>) {
        for row in rows.iter() {
            if let Some(value) = self.value.of(&row) {
                self.mean.add(value, row.weight);
            }
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

    /// The mean over these probabilities and labels, where row `i` weighs `weights[i]`.
    fn mean(value: RowValue, scores: &[f32], labels: &[f32], weights: &[f32]) -> f64 {
        let rows = Rows::new(Scores::Probabilities(scores), labels).unwrap();
        let mut mean = RowMean::new(value);
        mean.update(&rows.with_weights(weights).unwrap());
        mean.compute()
    }

    #[test]
    fn merging_any_split_equals_the_whole() {
        for value in [
            RowValue::Label,
            RowValue::Prediction,
            RowValue::LogLoss,
            RowValue::Precision,
            RowValue::Recall,
        ] {
            check_mergeable(&RowMean::new(value), 1e-12, |value| *value);
            check_silent_without_rows(&RowMean::new(value), |value| *value);
        }
    }

    #[test]
    fn rows_count_by_their_weight() {
        let of = |value| mean(value, &[0.2, 0.8], &[1.0, 0.0], &[3.0, 1.0]);
        assert!((of(RowValue::Label) - 0.75).abs() < 1e-6);
        assert!((of(RowValue::Prediction) - 0.35).abs() < 1e-6);
    }

    #[test]
    fn exactly_one_half_is_not_predicted_positive() {
        let scores = [0.5, 0.6, 0.9, 0.1, 0.7];
        let of = |value| mean(value, &scores, &[1.0, 1.0, 0.0, 1.0, 1.0], &[1.0; 5]);
        assert!((of(RowValue::Precision) - 2.0 / 3.0).abs() < 1e-12);
        assert!((of(RowValue::Recall) - 2.0 / 4.0).abs() < 1e-12);
    }

    #[test]
    fn an_undecided_model_loses_ln_2() {
        let mut loss = RowMean::new(RowValue::LogLoss);
        loss.update(&Rows::new(Scores::Logits(&[0.0, 0.0]), &[1.0, 0.0]).unwrap());
        assert!((loss.compute() - std::f64::consts::LN_2).abs() < 1e-12);
    }
}
