//! Mean label: the click-through rate, where the label is a click.

use serde::{Deserialize, Serialize};

use super::{Metric, Rows, StableMean};

/// Weighted mean label, 0 to 1; NaN without rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ctr {
    mean: StableMean,
}

impl Metric for Ctr {
    type Value = f64;

    fn update(&mut self, rows: &Rows<'_>) {
        for row in rows.iter() {
            self.mean.add(row.label, row.weight);
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
        check_mergeable(&Ctr::default(), 1e-12, |value| *value);
        check_silent_without_rows(&Ctr::default(), |value| *value);
    }

    #[test]
    fn it_is_weighted() {
        let rows = Rows::new(Scores::Probabilities(&[0.2, 0.8]), &[1.0, 0.0]).unwrap();
        let mut metric = Ctr::default();
        metric.update(&rows.with_weights(&[3.0, 1.0]).unwrap());
        assert!((metric.compute() - 0.75).abs() < 1e-6);
    }
}
