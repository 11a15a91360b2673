//! AUROC: how likely a positive row stands above a negative one.

use serde::{Deserialize, Serialize};

use super::ranking::Point;
use super::{Estimate, Metric, Ranking, RankingLimits, Rows};

/// Area under the ROC curve by the weighted Mann–Whitney count; ties count half. NaN while a class is missing.
///
/// Exact up to [`RankingLimits::exact_examples`] rows, and beyond within the bound that [`Ranking`] states, in bounded
/// memory either way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Auroc {
    ranking: Ranking,
}

impl Auroc {
    /// With other limits than the default ones.
    #[must_use]
    pub fn new(limits: RankingLimits) -> Self {
        Self {
            ranking: Ranking::new(limits),
        }
    }

    /// AUROC of a ranking that other metrics share.
    #[must_use]
    pub fn of(ranking: &Ranking) -> Estimate {
        ranking.estimate(mann_whitney)
    }
}

impl Metric for Auroc {
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

/// Share of the pairs of a positive and a negative, by weight, in which the positive stands above.
fn mann_whitney(points: &[Point]) -> f64 {
    let mut negatives_below = 0.0;
    let mut positives = 0.0;
    let mut wins = 0.0;
    for point in points {
        wins += point.positive * (negatives_below + point.negative / 2.0);
        negatives_below += point.negative;
        positives += point.positive;
    }
    if positives > 0.0 && negatives_below > 0.0 {
        wins / positives / negatives_below
    } else {
        f64::NAN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Scores;
    use crate::metrics::test_support::{
        Random, Sample, check_mergeable, check_silent_without_rows,
    };

    fn summarised(nodes: usize) -> Auroc {
        Auroc::new(RankingLimits {
            exact_examples: 256,
            nodes,
            ..RankingLimits::default()
        })
    }

    #[test]
    fn merging_any_split_equals_the_whole_to_the_last_bit() {
        check_mergeable(&Auroc::default(), 0.0, |estimate| estimate.value);
        check_silent_without_rows(&Auroc::default(), |estimate| estimate.value);
    }

    #[test]
    fn ties_count_half() {
        let mut auroc = Auroc::default();
        let scores = Scores::Logits(&[2.0, 1.0, 1.0, -0.0, 0.0]);
        auroc.update(&Rows::new(scores, &[1.0, 1.0, 0.0, 1.0, 0.0]).unwrap());
        let wins = 2.0 + 1.5 + 0.5;
        assert!((auroc.compute().value - wins / 6.0).abs() < 1e-12);
    }

    #[test]
    fn one_score_that_is_nan_makes_the_whole_unknown() {
        let mut auroc = Auroc::default();
        let scores = Scores::Logits(&[2.0, 1.0, f32::NAN]);
        auroc.update(&Rows::new(scores, &[1.0, 0.0, 0.0]).unwrap());
        assert!(auroc.compute().value.is_nan());
        auroc.reset();
        auroc.update(&Rows::new(Scores::Logits(&[2.0, 1.0]), &[1.0, 0.0]).unwrap());
        assert!((auroc.compute().value - 1.0).abs() < 1e-12);
    }

    #[test]
    fn few_distinct_scores_stay_exact_however_many_rows() {
        let mut sample = Sample::new(2, 5000);
        for score in &mut sample.scores {
            *score = (*score * 20.0).round() / 20.0;
        }
        let mut exact = Auroc::default();
        exact.update(&sample.rows());
        let mut small = summarised(64);
        small.update(&sample.rows());
        assert!(small.compute().error_bound.abs() < 1e-15);
        assert!((small.compute().value - exact.compute().value).abs() < 1e-12);
    }

    /// Streams meant to defeat fixed bins, first-come bins and bins by quantile.
    fn adversaries() -> Vec<(&'static str, Sample)> {
        let len = 30_000;
        let score = |shape: &str, index: usize, random: &mut Random| {
            let time = index as f32 / len as f32;
            match shape {
                "uniform" => random.unit(),
                "one narrow spike" => 0.5 + random.unit() * 1e-3,
                "spread first, then all in one place" if index < len / 10 => random.unit(),
                "spread first, then all in one place" => 0.3 + random.unit() * 1e-3,
                "rising" => time,
                "falling" => 1.0 - time,
                "each closer to zero" => (-80.0 * time).exp(),
                _ => random.unit().powi(12),
            }
        };
        let names = [
            "uniform",
            "one narrow spike",
            "spread first, then all in one place",
            "rising",
            "falling",
            "each closer to zero",
            "tiny",
        ];
        let make = |name: &'static str| {
            let mut random = Random(9);
            let mut sample = Sample::new(9, len);
            for index in 0..len {
                sample.scores[index] = score(name, index, &mut random);
                sample.weights[index] = if name == "falling" {
                    1.0 + index as f32
                } else {
                    1.0
                };
                let is_positive = random.unit() < if index % 2 == 0 { 0.1 } else { 0.6 };
                let moved = sample.scores[index] * if is_positive { 1.0 } else { 0.999_99 };
                sample.scores[index] = moved;
                sample.labels[index] = f32::from(u8::from(is_positive));
            }
            (name, sample)
        };
        names.into_iter().map(make).collect()
    }

    #[test]
    fn a_summary_stays_within_its_bounds_on_adversarial_streams() {
        for (name, sample) in adversaries() {
            let mut exact = Auroc::default();
            exact.update(&sample.rows());
            let expected = exact.compute().value;
            let mut whole = summarised(2048);
            whole.update(&sample.rows());
            let mut merged = summarised(2048);
            for part in sample.parts(7) {
                let mut one = summarised(2048);
                one.update(&part.rows());
                merged.merge(&one);
            }
            for auroc in [whole, merged] {
                let found = auroc.compute();
                assert!(!auroc.ranking.is_exact(), "{name}");
                assert!(found.error_bound < 0.03, "{name}: {found:?}");
                assert!(found.error_bound <= 256.0 / 2048.0, "{name}: {found:?}");
                let error = (found.value - expected).abs();
                assert!(
                    error <= found.error_bound + 1e-12,
                    "{name}: {found:?} for {expected}"
                );
                let limit = 8 * 256 + 32 * 2048;
                assert!(auroc.ranking.stored_bytes() <= limit, "{name}");
            }
        }
    }

    #[test]
    fn what_is_kept_does_not_grow_with_the_rows() {
        let mut auroc = summarised(2048);
        let mut random = Random(3);
        let mut kept = Vec::new();
        for _ in 0..40 {
            let scores: Vec<f32> = (0..5_000).map(|_| random.unit()).collect();
            let labels: Vec<f32> = scores
                .iter()
                .map(|score| f32::from(u8::from(random.unit() < *score)))
                .collect();
            auroc.update(&Rows::new(Scores::Probabilities(&scores), &labels).unwrap());
            kept.push(auroc.ranking.stored_bytes());
        }
        let limit = 8 * 256 + 32 * 2048;
        assert!(kept.iter().all(|bytes| *bytes <= limit), "{kept:?}");
        assert!(!auroc.ranking.is_exact());
    }

    #[test]
    fn the_default_summary_is_within_a_thousandth() {
        let limits = RankingLimits::default();
        assert!(256.0 / limits.nodes as f64 <= 0.001);
    }
}
