//! How many positives there are.

use serde::{Deserialize, Serialize};

use super::{Metric, Rows, StableMean};

/// Labels times weights, summed: without weights, the number of positive rows. 0 without rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Count {
    mean: StableMean,
}

impl Metric for Count {
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
        self.mean.sum()
    }

    fn reset(&mut self) {
        self.mean.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Scores;
    use crate::metrics::test_support::check_mergeable;

    #[test]
    fn merging_any_split_equals_the_whole() {
        check_mergeable(&Count::default(), 1e-6, |value| *value);
        assert!(Count::default().compute().abs() < 1e-12);
    }

    #[test]
    fn it_is_weighted() {
        let rows = Rows::new(Scores::Probabilities(&[0.2, 0.8]), &[1.0, 0.0]).unwrap();
        let mut metric = Count::default();
        metric.update(&rows.with_weights(&[3.0, 1.0]).unwrap());
        assert!((metric.compute() - 3.0).abs() < 1e-6);
    }
}
