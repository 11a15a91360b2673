//! GAUC: AUROC within each group (such as one user), averaged over groups.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::rows::Row;
use super::{Auroc, Metric, Ranking, RankingLimits, Rows, StableMean};
use crate::splitmix::draw;

/// What one group takes besides its rows.
const GROUP_BYTES: usize = 128;

/// Rows that a group keeps exactly; a larger group is summarised (see [`Ranking`]) with an error of at most 1/16.
const GROUP_LIMITS: RankingLimits = RankingLimits {
    exact_examples: 1 << 12,
    nodes: 1 << 12,
    label_threshold: 0.5,
};

/// Mean AUROC of the groups that have both classes, each weighing as much as its rows.
///
/// Groups, not rows, are given up when memory runs out: once the kept groups outgrow the budget, half of them, chosen by a
/// hash of their id, are dropped and not taken in again; and so on. What remains is a fair sample of the groups that
/// depends on nothing but the ids, so parts of the data merge as if they had been one.
///
/// # Memory
/// 128 bytes per kept group and 8 to 16 per row, within the budget (64 MiB by default: about two million
/// rows in groups of a hundred).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gauc {
    budget_bytes: usize,
    /// Of the groups, one in 2^`halvings` is kept.
    halvings: u32,
    groups: BTreeMap<i64, Ranking>,
    stored_bytes: usize,
}

/// A mean over groups.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupedEstimate {
    /// The mean; NaN where no group has both classes.
    pub value: f64,
    /// How far the mean over the kept groups may be off, from groups too large to be kept exactly; 0 where none is.
    pub error_bound: f64,
    /// Standard error from having kept only some groups; 0 where all are kept.
    pub standard_error: f64,
    /// How many kept groups have both classes.
    pub groups: usize,
    /// Share of the groups that is kept: 1, 1/2, 1/4, …
    pub kept_share: f64,
}

impl Default for Gauc {
    fn default() -> Self {
        Self::new(64 << 20)
    }
}

impl Gauc {
    /// With another budget, in bytes.
    #[must_use]
    pub fn new(budget_bytes: usize) -> Self {
        Self {
            budget_bytes,
            halvings: 0,
            groups: BTreeMap::new(),
            stored_bytes: 0,
        }
    }

    fn push(&mut self, row: &Row) {
        if !is_kept(row.group, self.halvings) {
            return;
        }
        let mut grown = 0;
        let ranking = self.groups.entry(row.group).or_insert_with(|| {
            grown = GROUP_BYTES;
            Ranking::new(GROUP_LIMITS)
        });
        let before = ranking.stored_bytes();
        ranking.push(row);
        // A summary may shrink as it takes in rows.
        self.stored_bytes = (self.stored_bytes + grown + ranking.stored_bytes()) - before;
        self.keep_to_budget();
    }

    fn keep_to_budget(&mut self) {
        while self.stored_bytes > self.budget_bytes && self.halvings < u64::BITS {
            self.drop_below(self.halvings + 1);
        }
    }

    fn drop_below(&mut self, halvings: u32) {
        self.halvings = halvings;
        self.groups.retain(|&group, _| is_kept(group, halvings));
        let stored = |ranking: &Ranking| GROUP_BYTES + ranking.stored_bytes();
        self.stored_bytes = self.groups.values().map(stored).sum();
    }
}

impl Metric for Gauc {
    type Value = GroupedEstimate;

    fn update(&mut self, rows: &Rows<'_>) {
        for row in rows.iter() {
            self.push(&row);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.drop_below(self.halvings.max(other.halvings));
        for (&group, ranking) in &other.groups {
            if is_kept(group, self.halvings) {
                let fresh = || Ranking::new(GROUP_LIMITS);
                self.groups
                    .entry(group)
                    .or_insert_with(fresh)
                    .merge(ranking);
            }
        }
        self.drop_below(self.halvings);
        self.keep_to_budget();
    }

    fn compute(&self) -> GroupedEstimate {
        let mut mean = StableMean::default();
        let mut bound = StableMean::default();
        let mut areas = Vec::new();
        for ranking in self.groups.values() {
            let area = Auroc::of(ranking);
            let (positive, negative) = ranking.masses();
            let weight = positive + negative;
            if positive > 0.0 && negative > 0.0 {
                mean.add(area.value, weight);
                bound.add(area.error_bound, weight);
                areas.push((area.value, weight));
            }
        }
        let value = mean.compute();
        let spread = |&(area, weight): &(f64, f64)| (weight * (area - value)).powi(2);
        let deviation = areas.iter().map(spread).sum::<f64>().sqrt();
        GroupedEstimate {
            value,
            error_bound: bound.compute(),
            standard_error: match self.halvings {
                0 => 0.0,
                _ => deviation / mean.total_weight(),
            },
            groups: areas.len(),
            kept_share: 0.5_f64.powi(self.halvings.try_into().unwrap_or(i32::MAX)),
        }
    }

    fn reset(&mut self) {
        *self = Self::new(self.budget_bytes);
    }
}

/// Whether a group is among the one in 2^`halvings` that are kept: by the leading bits of a hash of its id.
fn is_kept(group: i64, halvings: u32) -> bool {
    draw(group.cast_unsigned()).leading_zeros() >= halvings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Scores;
    use crate::metrics::test_support::{
        Random, Sample, check_mergeable, check_silent_without_rows,
    };

    #[test]
    fn merging_any_split_equals_the_whole() {
        check_mergeable(&Gauc::default(), 1e-12, |estimate| estimate.value);
        check_silent_without_rows(&Gauc::default(), |estimate| estimate.value);
    }

    #[test]
    fn groups_weigh_as_much_as_their_rows_and_need_both_classes() {
        let scores = Scores::Logits(&[2.0, 1.0, 0.0, 1.0, 3.0, 9.0]);
        let labels = [1.0, 0.0, 1.0, 0.0, 0.0, 0.0];
        let rows = Rows::new(scores, &labels).unwrap();
        let mut gauc = Gauc::default();
        gauc.update(&rows.with_groups(&[7, 7, -1, -1, -1, 3]).unwrap());
        let found = gauc.compute();
        assert!((found.value - 2.0 / 5.0).abs() < 1e-12);
        assert_eq!(found.groups, 2);
        assert!((found.kept_share - 1.0).abs() < 1e-12);
    }

    fn many_groups(len: usize, groups: usize) -> Sample {
        let mut random = Random(21);
        let mut sample = Sample::new(21, len);
        for group in &mut sample.groups {
            *group = i64::try_from(random.below(groups)).unwrap();
        }
        sample
    }

    #[test]
    fn a_small_budget_is_kept_and_still_gives_a_fair_estimate() {
        let sample = many_groups(60_000, 2000);
        let mut whole = Gauc::default();
        whole.update(&sample.rows());
        let expected = whole.compute().value;
        let budget = 200_000;
        let mut small = Gauc::new(budget);
        small.update(&sample.rows());
        assert!(small.stored_bytes <= budget);
        let found = small.compute();
        assert!(found.kept_share < 0.6 && found.standard_error > 0.0);
        assert!((found.value - expected).abs() < 4.0 * found.standard_error);
        let mut merged = Gauc::new(budget);
        for part in sample.parts(3) {
            let mut one = Gauc::new(budget);
            one.update(&part.rows());
            merged.merge(&one);
        }
        assert!(merged.stored_bytes <= budget);
        let error = (merged.compute().value - expected).abs();
        assert!(error < 4.0 * merged.compute().standard_error);
    }
}
