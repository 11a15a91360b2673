//! PR-AUC: precision averaged over recall, telling where positives are rare.

use serde::{Deserialize, Serialize};

use super::ranking::Point;
use super::{Estimate, Metric, Ranking, RankingLimits, Rows};

/// Area under the precision-recall curve as average precision, Σ (R_i − R_{i−1})·P_i over the distinct scores from the
/// highest down; tied rows enter together. NaN without a positive, 1 without a negative.
///
/// Exact up to [`RankingLimits::exact_examples`] rows; beyond, the bound that comes with the estimate holds for any
/// rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PrAuc {
    ranking: Ranking,
}

impl PrAuc {
    /// With other limits than the default ones.
    #[must_use]
    pub fn new(limits: RankingLimits) -> Self {
        Self {
            ranking: Ranking::new(limits),
        }
    }

    /// PR-AUC of a ranking that other metrics share.
    #[must_use]
    pub fn of(ranking: &Ranking) -> Estimate {
        ranking.estimate(average_precision)
    }
}

impl Metric for PrAuc {
    type Value = Estimate;

    fn update(&mut self, rows: &Rows<'_>) {
        self.ranking.update(rows);
    }

    fn merge(&mut self, other: &Self) {
        self.ranking.merge(&other.ranking);
    }

    fn compute(&self) -> Estimate {
        Self::of(&self.ranking)
    }

    fn reset(&mut self) {
        self.ranking.reset();
    }
}

fn average_precision(points: &[Point]) -> f64 {
    let mut positives = 0.0;
    let mut all = 0.0;
    let mut sum = 0.0;
    for point in points.iter().rev() {
        positives += point.positive;
        all += point.positive + point.negative;
        sum += point.positive * (positives / all);
    }
    if positives > 0.0 {
        sum / positives
    } else {
        f64::NAN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Scores;
    use crate::metrics::test_support::{Sample, check_mergeable, check_silent_without_rows};

    #[test]
    fn merging_any_split_equals_the_whole_to_the_last_bit() {
        check_mergeable(&PrAuc::default(), 0.0, |estimate| estimate.value);
        check_silent_without_rows(&PrAuc::default(), |estimate| estimate.value);
    }

    #[test]
    fn precision_is_averaged_where_recall_grows() {
        let mut area = PrAuc::default();
        let scores = Scores::Logits(&[4.0, 3.0, 2.0, 1.0]);
        area.update(&Rows::new(scores, &[1.0, 0.0, 1.0, 0.0]).unwrap());
        assert!((area.compute().value - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
        area.reset();
        let scores = Scores::Logits(&[1.0; 4]);
        area.update(&Rows::new(scores, &[1.0, 0.0, 1.0, 0.0]).unwrap());
        assert!((area.compute().value - 0.5).abs() < 1e-12);
    }

    #[test]
    fn a_summary_knows_how_far_it_may_be_off() {
        let sample = Sample::new(4, 20_000);
        let mut exact = PrAuc::default();
        exact.update(&sample.rows());
        let mut small = PrAuc::new(RankingLimits {
            exact_examples: 100,
            nodes: 4096,
            ..RankingLimits::default()
        });
        small.update(&sample.rows());
        let found = small.compute();
        assert!(
            found.error_bound > 0.0 && found.error_bound < 0.02,
            "{found:?}"
        );
        assert!((found.value - exact.compute().value).abs() <= found.error_bound);
    }
}
