//! Checks that every metric must pass, and seeded samples to run them on.

use super::{Metric, Rows, Scores};
use crate::splitmix::{GAMMA, draw};

/// A counter-based generator: the same numbers for the same seed everywhere.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        let bits = draw(self.0);
        self.0 = self.0.wrapping_add(GAMMA);
        bits
    }

    /// Uniform in [0, 1).
    pub(super) fn unit(&mut self) -> f32 {
        f32::from(u16::try_from(self.next() >> 48).unwrap()) / 65536.0
            + f32::from(u16::try_from(self.next() >> 48).unwrap()) / 4_294_967_296.0
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }
}

/// Rows with probabilities that say something about the labels, weights of which some are 0, and groups.
pub(super) struct Sample {
    pub(super) scores: Vec<f32>,
    pub(super) labels: Vec<f32>,
    pub(super) weights: Vec<f32>,
    pub(super) groups: Vec<i64>,
}

impl Sample {
    pub(super) fn new(seed: u64, len: usize) -> Self {
        let mut random = Random(seed);
        let mut sample = Self::empty();
        for index in 0..len {
            let score = random.unit() * 0.7;
            let score = if index % 5 == 0 { 0.25 } else { score };
            sample.scores.push(score);
            let is_positive = random.unit() < score * 0.8 + 0.1;
            sample.labels.push(f32::from(u8::from(is_positive)));
            let weight = if index % 11 == 0 {
                0.0
            } else {
                random.unit() + 0.1
            };
            sample.weights.push(weight);
            sample.groups.push(i64::try_from(random.below(20)).unwrap());
        }
        sample
    }

    pub(super) fn empty() -> Self {
        Self {
            scores: Vec::new(),
            labels: Vec::new(),
            weights: Vec::new(),
            groups: Vec::new(),
        }
    }

    pub(super) fn rows(&self) -> Rows<'_> {
        Rows::new(Scores::Probabilities(&self.scores), &self.labels)
            .and_then(|rows| rows.with_weights(&self.weights))
            .and_then(|rows| rows.with_groups(&self.groups))
            .unwrap()
    }

    /// The rows from `start` up to `end`.
    pub(super) fn slice(&self, start: usize, end: usize) -> Self {
        Self {
            scores: self.scores[start..end].to_vec(),
            labels: self.labels[start..end].to_vec(),
            weights: self.weights[start..end].to_vec(),
            groups: self.groups[start..end].to_vec(),
        }
    }

    /// Deals the rows to `parts`, one after the other.
    pub(super) fn parts(&self, parts: usize) -> Vec<Self> {
        let mut dealt: Vec<Self> = (0..parts).map(|_| Self::empty()).collect();
        for index in 0..self.scores.len() {
            let part = &mut dealt[index % parts];
            part.scores.push(self.scores[index]);
            part.labels.push(self.labels[index]);
            part.weights.push(self.weights[index]);
            part.groups.push(self.groups[index]);
        }
        dealt
    }
}

/// However the rows are cut and merged, through JSON as ranks exchange it, the metric says the same.
pub(super) fn check_mergeable<M, F>(fresh: &M, tolerance: f64, number: F)
where
    M: Metric + Clone + serde::Serialize + serde::de::DeserializeOwned,
    F: Fn(&M::Value) -> f64,
{
    let sample = Sample::new(17, 600);
    let mut whole = fresh.clone();
    whole.update(&sample.rows());
    let expected = number(&whole.compute());
    assert!(expected.is_finite());
    let mut random = Random(5);
    for _ in 0..30 {
        let mut cuts: Vec<usize> = (0..random.below(6)).map(|_| random.below(601)).collect();
        cuts.extend([0, 600]);
        cuts.sort_unstable();
        let mut merged = fresh.clone();
        for pair in cuts.windows(2) {
            let mut part = fresh.clone();
            part.update(&sample.slice(pair[0], pair[1]).rows());
            let text = serde_json::to_string(&part).unwrap();
            merged.merge(&serde_json::from_str(&text).unwrap());
        }
        let found = number(&merged.compute());
        assert!(
            (found - expected).abs() <= tolerance,
            "cut at {cuts:?}: {found} is not {expected}"
        );
    }
    whole.reset();
    whole.update(&sample.rows());
    assert!((number(&whole.compute()) - expected).abs() <= 0.0);
}

/// Without a row that weighs something, the metric is NaN and does not panic.
pub(super) fn check_silent_without_rows<M: Metric + Clone>(
    fresh: &M,
    number: impl Fn(&M::Value) -> f64,
) {
    assert!(number(&fresh.compute()).is_nan());
    let mut metric = fresh.clone();
    metric.update(&Sample::empty().rows());
    metric.merge(fresh);
    let unweighted = Rows::new(Scores::Logits(&[1.0, -1.0]), &[1.0, 0.0]).unwrap();
    metric.update(&unweighted.with_weights(&[0.0, 0.0]).unwrap());
    assert!(number(&metric.compute()).is_nan());
}
