//! Binary cross-entropy of one row, from a probability or from a logit.

use serde::{Deserialize, Serialize};

use super::rows::Row;

/// How cross-entropy treats labels and the ends of the scale.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CrossEntropyConfig {
    /// From 0 (labels as they are) to 1 (every label one half): y' = y(1−s) + s/2. Default 0.
    pub label_smoothing: f64,
    /// Probabilities are kept this far from 0 and 1, and this is added inside the logarithms as well. Above 0 and
    /// below one half; default 1e-7. Logits do not need it.
    pub epsilon: f32,
}

impl Default for CrossEntropyConfig {
    fn default() -> Self {
        Self {
            label_smoothing: 0.0,
            epsilon: 1e-7,
        }
    }
}

impl CrossEntropyConfig {
    /// The label after smoothing.
    pub(super) fn smooth(&self, label: f64) -> f64 {
        label * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
    }

    /// Cross-entropy of a row against `label`, by the form that suits its kind of score.
    pub(super) fn of_row(&self, row: &Row, label: f64) -> f64 {
        if row.is_logit {
            of_logit(f64::from(row.score), label)
        } else {
            self.of_probability(row.probability(), label)
        }
    }

    /// −y·ln(p+ε) − (1−y)·ln(1−p+ε) with p kept in [ε, 1−ε].
    ///
    /// The bounds are those of single precision, in which 1 − 1e-7 is 0.99999988: predictions of exactly 0 or 1 count
    /// as much as they do in the original.
    pub(super) fn of_probability(&self, probability: f64, label: f64) -> f64 {
        let epsilon = f64::from(self.epsilon);
        let upper = f64::from(1.0 - self.epsilon);
        let kept = if probability.is_nan() {
            probability
        } else {
            probability.max(epsilon).min(upper)
        };
        -label * (kept + epsilon).ln() - (1.0 - label) * (1.0 - kept + epsilon).ln()
    }

    /// Cross-entropy of the best constant prediction, the mean label.
    ///
    /// NaN unless the mean is strictly between 0 and 1, that is, unless there is something of both classes.
    pub(super) fn baseline(&self, mean_label: f64) -> f64 {
        if mean_label > 0.0 && mean_label < 1.0 {
            self.of_probability(mean_label, mean_label)
        } else {
            f64::NAN
        }
    }
}

/// y·ln(1 + e^−z) + (1−y)·ln(1 + e^z): never overflows, loses no digits for large logits, and is 0 for an infinite
/// logit on the right side.
fn of_logit(logit: f64, label: f64) -> f64 {
    let share = |share: f64, logit: f64| {
        // An infinite loss that does not count at all is no loss, rather than NaN.
        if share.abs() > 0.0 || logit.is_nan() {
            share * softplus(logit)
        } else {
            0.0
        }
    };
    share(label, -logit) + share(1.0 - label, logit)
}

/// ln(1 + e^x) = max(x, 0) + ln(1 + e^−|x|).
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::rows::sigmoid;

    #[test]
    fn both_forms_agree_away_from_the_ends() {
        let config = CrossEntropyConfig::default();
        for logit in [-5.0, -0.3, 0.0, 2.0] {
            for label in [0.0, 0.4, 1.0] {
                let plain = config.of_probability(sigmoid(logit), label);
                assert!((plain - of_logit(logit, label)).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn infinite_logits_lose_nothing_or_everything() {
        for (logit, label) in [(f64::INFINITY, 1.0), (f64::NEG_INFINITY, 0.0)] {
            assert!(of_logit(logit, label).abs() < 1e-300);
            assert!(of_logit(logit, 1.0 - label) > f64::MAX);
        }
        assert!((of_logit(1000.0, 0.0) - 1000.0).abs() < 1e-9);
    }

    #[test]
    fn nan_predictions_are_not_hidden() {
        let config = CrossEntropyConfig::default();
        assert!(config.of_probability(f64::NAN, 1.0).is_nan());
        assert!(of_logit(f64::NAN, 1.0).is_nan());
    }
}
