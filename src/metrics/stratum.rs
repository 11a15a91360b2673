//! Metrics over some of the rows only: those in which a column has a given value.

use serde::{Deserialize, Serialize};

use super::{Metric, MetricError, Rows, Scores};

/// Selects the rows whose `column` equals `value`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stratum {
    /// Name of the column that selects.
    pub column: String,
    /// The value it must have.
    pub value: i64,
}

/// A metric that sees only the rows of its stratum; a batch without such rows leaves it as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stratified<M> {
    stratum: Stratum,
    metric: M,
}

impl<M: Metric> Stratified<M> {
    /// `metric` over the rows of `stratum`.
    pub fn new(stratum: Stratum, metric: M) -> Self {
        Self { stratum, metric }
    }

    /// Which rows it sees.
    pub fn stratum(&self) -> &Stratum {
        &self.stratum
    }

    /// The metric of those rows.
    pub fn metric(&self) -> &M {
        &self.metric
    }

    /// Takes in the rows whose value in `column` is that of the stratum.
    ///
    /// # Errors
    /// When the column does not have one value per row.
    pub fn update(&mut self, rows: &Rows<'_>, column: &[i64]) -> Result<(), MetricError> {
        super::rows::check_length(&self.stratum.column, column.len(), rows.len())?;
        let selection = Selection::of(rows, |index| column[index] == self.stratum.value);
        if !selection.labels.is_empty() {
            self.metric.update(&selection.rows(rows)?);
        }
        Ok(())
    }

    /// Takes in what `other` has seen.
    pub fn merge(&mut self, other: &Self) {
        self.metric.merge(&other.metric);
    }

    /// The metric over the rows of the stratum so far.
    pub fn compute(&self) -> M::Value {
        self.metric.compute()
    }

    /// Forgets every row.
    pub fn reset(&mut self) {
        self.metric.reset();
    }
}

/// Copies of selected rows.
#[derive(Default)]
struct Selection {
    scores: Vec<f32>,
    labels: Vec<f32>,
    weights: Vec<f32>,
    groups: Vec<i64>,
}

impl Selection {
    fn of(rows: &Rows<'_>, is_selected: impl Fn(usize) -> bool) -> Self {
        let mut selection = Self::default();
        for index in (0..rows.len()).filter(|&index| is_selected(index)) {
            selection.scores.push(rows.scores().values()[index]);
            selection.labels.push(rows.labels()[index]);
            selection
                .weights
                .extend(rows.weights().map(|weights| weights[index]));
            selection
                .groups
                .extend(rows.groups().map(|groups| groups[index]));
        }
        selection
    }

    /// The selected rows, with the same columns as `original`.
    fn rows(&self, original: &Rows<'_>) -> Result<Rows<'_>, MetricError> {
        let scores: Scores<'_> = original.scores().with_values(&self.scores);
        let mut rows = Rows::new(scores, &self.labels)?;
        if original.weights().is_some() {
            rows = rows.with_weights(&self.weights)?;
        }
        if original.groups().is_some() {
            rows = rows.with_groups(&self.groups)?;
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{RowMean, RowValue};

    #[test]
    fn only_the_rows_of_the_stratum_count() {
        let stratum = Stratum {
            column: "country".into(),
            value: 7,
        };
        let scores = Scores::Logits(&[0.0; 4]);
        let rows = Rows::new(scores, &[1.0, 1.0, 0.0, 1.0]).unwrap();
        let mut ctr = Stratified::new(stratum.clone(), RowMean::new(RowValue::Label));
        ctr.update(&rows, &[7, 1, 7, 7]).unwrap();
        assert!((ctr.compute() - 2.0 / 3.0).abs() < 1e-12);
        ctr.update(&rows, &[0; 4]).unwrap();
        assert!((ctr.compute() - 2.0 / 3.0).abs() < 1e-12);
        let mut other = Stratified::new(stratum, RowMean::new(RowValue::Label));
        other.update(&rows, &[0, 7, 0, 0]).unwrap();
        ctr.merge(&other);
        assert!((ctr.compute() - 3.0 / 4.0).abs() < 1e-12);
        assert!(ctr.update(&rows, &[7]).is_err());
    }

    #[test]
    fn weights_follow_their_rows() {
        let stratum = Stratum {
            column: "lang".into(),
            value: 1,
        };
        let rows = Rows::new(Scores::Logits(&[0.0; 3]), &[1.0, 1.0, 1.0]).unwrap();
        let rows = rows.with_weights(&[1.0, 10.0, 100.0]).unwrap();
        let mut count = Stratified::new(stratum, RowMean::new(RowValue::Label));
        count.update(&rows, &[1, 0, 1]).unwrap();
        assert!((count.metric().sum() - 101.0).abs() < 1e-9);
    }
}
