//! Rank metrics of queries: where in the list of one query the positives stand.

use serde::{Deserialize, Serialize};

use super::{Metric, Rows, StableMean};

/// The ranks of the positive rows of one query, best first; rank 1 is the highest score.
///
/// Tied rows share the middle of their ranks, so a rank may end in ½. Scores that are NaN rank last. Rows of weight 0
/// are left out.
#[must_use]
pub fn ranks_of_positives(query: &Rows<'_>) -> Vec<f64> {
    let mut rows: Vec<(f32, bool)> = query
        .iter()
        .map(|row| {
            let score = if row.score.is_nan() {
                f32::NEG_INFINITY
            } else {
                row.score
            };
            (score + 0.0, row.is_positive())
        })
        .collect();
    rows.sort_by(|left, right| right.0.total_cmp(&left.0));
    let mut ranks = Vec::new();
    let mut above = 0.0;
    for tied in rows.chunk_by(|left, right| left.0.to_bits() == right.0.to_bits()) {
        let len = tied.len() as f64;
        let positives = tied.iter().filter(|row| row.1).count();
        ranks.extend(std::iter::repeat_n(above + (len + 1.0) / 2.0, positives));
        above += len;
    }
    ranks
}

/// Mean reciprocal rank and hit@k over queries: each update is the rows of one whole query.
///
/// Queries without a positive do not count; every other query counts once, whatever its rows weigh.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueryRanks {
    cutoffs: Vec<u32>,
    reciprocal_rank: StableMean,
    hits: Vec<StableMean>,
}

/// Means over queries; NaN before the first query with a positive.
#[derive(Clone, Debug, PartialEq)]
pub struct QuerySummary {
    /// Mean of 1 / rank of the best positive.
    pub reciprocal_rank: f64,
    /// For each cutoff k, the share of queries whose best positive is among the first k.
    pub hits: Vec<(u32, f64)>,
}

impl QueryRanks {
    /// With the cutoffs k of hit@k.
    #[must_use]
    pub fn new(cutoffs: &[u32]) -> Self {
        Self {
            cutoffs: cutoffs.to_vec(),
            reciprocal_rank: StableMean::default(),
            hits: vec![StableMean::default(); cutoffs.len()],
        }
    }
}

impl Metric for QueryRanks {
    type Value = QuerySummary;

    fn update(&mut self, rows: &Rows<'_>) {
        let Some(&best) = ranks_of_positives(rows).first() else {
            return;
        };
        self.reciprocal_rank.add(1.0 / best, 1.0);
        for (hit, &cutoff) in self.hits.iter_mut().zip(&self.cutoffs) {
            hit.add(f64::from(u8::from(best <= f64::from(cutoff))), 1.0);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.reciprocal_rank.merge(&other.reciprocal_rank);
        for (hit, others) in self.hits.iter_mut().zip(&other.hits) {
            hit.merge(others);
        }
    }

    fn compute(&self) -> QuerySummary {
        let shares = self.hits.iter().map(StableMean::compute);
        QuerySummary {
            reciprocal_rank: self.reciprocal_rank.compute(),
            hits: self.cutoffs.iter().copied().zip(shares).collect(),
        }
    }

    fn reset(&mut self) {
        *self = Self::new(&self.cutoffs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Scores;
    use crate::metrics::test_support::{Sample, check_silent_without_rows};

    fn query<'a>(scores: &'a [f32], labels: &'a [f32]) -> Rows<'a> {
        Rows::new(Scores::Logits(scores), labels).unwrap()
    }

    #[test]
    fn ranks_start_at_one_and_ties_share_the_middle() {
        let rows = query(&[0.1, 5.0, 2.0, 2.0, f32::NAN], &[1.0, 0.0, 1.0, 0.0, 1.0]);
        assert_eq!(ranks_of_positives(&rows), [2.5, 4.0, 5.0]);
        assert!(ranks_of_positives(&query(&[], &[])).is_empty());
    }

    #[test]
    fn queries_without_a_positive_do_not_count() {
        let mut ranks = QueryRanks::new(&[1, 2]);
        ranks.update(&query(&[3.0, 2.0], &[1.0, 0.0]));
        ranks.update(&query(&[3.0, 2.0], &[0.0, 0.0]));
        let mut other = QueryRanks::new(&[1, 2]);
        other.update(&query(&[3.0, 2.0], &[0.0, 1.0]));
        ranks.merge(&other);
        let summary = ranks.compute();
        assert!((summary.reciprocal_rank - 0.75).abs() < 1e-12);
        assert_eq!(summary.hits, [(1, 0.5), (2, 1.0)]);
    }

    #[test]
    fn nothing_seen_is_unknown() {
        let fresh = QueryRanks::new(&[3]);
        assert!(fresh.compute().hits[0].1.is_nan());
        let mut empty = fresh.clone();
        empty.update(&Sample::empty().rows());
        assert_eq!(empty, fresh);
        check_silent_without_rows(&fresh, |summary| summary.reciprocal_rank);
    }
}
