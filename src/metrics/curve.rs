//! The ROC and precision-recall curves of a ranking, thinned to what an eye can tell apart.

use serde::{Deserialize, Serialize};

use super::Ranking;
use super::ranking::{Doubt, Point, score_of};

/// One threshold and what calling every row at or above it positive leads to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// The lowest score called positive.
    pub threshold: f32,
    /// Recall: share of the positives called so.
    pub true_positive_rate: f64,
    /// Share of the negatives called positive.
    pub false_positive_rate: f64,
    /// Share of positives among the rows called so.
    pub precision: f64,
}

/// Points from the highest threshold down. Where the ranking has lost the order of some rows, the worst order it allows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Empty while a class is missing.
    pub points: Vec<CurvePoint>,
}

impl Curve {
    /// The curve of `ranking` with about `resolution` points along either axis, at most twice as many in all and the
    /// last one always.
    #[must_use]
    pub fn of(ranking: &Ranking, resolution: u16) -> Self {
        let points = ranking.points(Doubt::Pessimistic);
        let total = |mass: fn(&Point) -> f64| points.iter().map(mass).sum::<f64>();
        let positives = total(|point| point.positive);
        let negatives = total(|point| point.negative);
        if positives <= 0.0 || negatives <= 0.0 {
            return Self::default();
        }
        let step = 1.0 / f64::from(resolution.max(1));
        let mut curve = Self::default();
        let (mut above, mut false_above) = (0.0, 0.0);
        let mut last_kept = (-1.0, -1.0);
        for (left, point) in points.iter().enumerate().rev() {
            above += point.positive;
            false_above += point.negative;
            let rates = (above / positives, false_above / negatives);
            let has_moved = rates.0 - last_kept.0 >= step || rates.1 - last_kept.1 >= step;
            if has_moved || left == 0 {
                last_kept = rates;
                curve.points.push(CurvePoint {
                    threshold: score_of(point.key),
                    true_positive_rate: rates.0,
                    false_positive_rate: rates.1,
                    precision: above / (above + false_above),
                });
            }
        }
        curve
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::test_support::Sample;

    #[test]
    fn a_curve_rises_to_one_and_is_thinned() {
        let mut ranking = Ranking::default();
        ranking.update(&Sample::new(8, 5000).rows());
        let curve = Curve::of(&ranking, 50);
        assert!(curve.points.len() <= 102 && curve.points.len() > 40);
        let last = curve.points[curve.points.len() - 1];
        assert!((last.true_positive_rate - 1.0).abs() < 1e-9);
        assert!((last.false_positive_rate - 1.0).abs() < 1e-9);
        for pair in curve.points.windows(2) {
            assert!(pair[0].threshold > pair[1].threshold);
            assert!(pair[0].true_positive_rate <= pair[1].true_positive_rate);
        }
        assert!(Curve::of(&Ranking::default(), 50).points.is_empty());
    }
}
