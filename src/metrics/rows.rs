//! The rows a metric is fed: scores, labels, weights and groups of one task, checked once for all metrics.

use super::error::MetricError;

/// What the model says of each row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scores<'a> {
    /// Numbers from 0 to 1.
    Probabilities(&'a [f32]),
    /// Log-odds: what the model gives before the sigmoid.
    Logits(&'a [f32]),
}

impl<'a> Scores<'a> {
    /// The numbers, of whichever kind.
    #[must_use]
    pub fn values(self) -> &'a [f32] {
        match self {
            Self::Probabilities(values) | Self::Logits(values) => values,
        }
    }

    /// The same kind of scores over other numbers.
    #[must_use]
    pub fn with_values<'b>(self, values: &'b [f32]) -> Scores<'b> {
        match self {
            Self::Probabilities(_) => Scores::Probabilities(values),
            Self::Logits(_) => Scores::Logits(values),
        }
    }
}

/// Some rows of one task. Columns have one value per row; no label is NaN, every weight is finite and at least 0.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    scores: Scores<'a>,
    labels: &'a [f32],
    weights: Option<&'a [f32]>,
    groups: Option<&'a [i64]>,
}

/// One row, as [`Rows::iter`] gives it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// The score as it came: log-odds or probability.
    pub score: f32,
    /// Whether `score` is log-odds.
    pub is_logit: bool,
    /// Usually 0 or 1; anything between is a soft label.
    pub label: f64,
    /// Above 0; 1 where the rows have no weights.
    pub weight: f64,
    /// The group the row belongs to; 0 where the rows have no groups.
    pub group: i64,
}

impl Row {
    /// The score as a probability.
    #[must_use]
    pub fn probability(&self) -> f64 {
        let score = f64::from(self.score);
        if self.is_logit { sigmoid(score) } else { score }
    }

    /// Whether the label counts as positive: above one half.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.label > 0.5
    }
}

impl<'a> Rows<'a> {
    /// Rows that all weigh 1 and belong to no group.
    ///
    /// # Errors
    /// When there are not as many labels as scores, or a label is not finite.
    pub fn new(scores: Scores<'a>, labels: &'a [f32]) -> Result<Self, MetricError> {
        check_length("labels", labels.len(), scores.values().len())?;
        match labels.iter().position(|label| !label.is_finite()) {
            Some(row) => Err(MetricError::Label {
                row,
                found: labels[row],
            }),
            None => Ok(Self {
                scores,
                labels,
                weights: None,
                groups: None,
            }),
        }
    }

    /// The same rows, weighted.
    ///
    /// # Errors
    /// When there are not as many weights as rows, or a weight is negative or not finite.
    pub fn with_weights(self, weights: &'a [f32]) -> Result<Self, MetricError> {
        check_length("weights", weights.len(), self.len())?;
        let is_wrong = |weight: &f32| !weight.is_finite() || *weight < 0.0;
        match weights.iter().position(is_wrong) {
            Some(row) => Err(MetricError::Weight {
                row,
                found: weights[row],
            }),
            None => Ok(Self {
                weights: Some(weights),
                ..self
            }),
        }
    }

    /// The same rows, each in a group, such as the user the row was shown to.
    ///
    /// # Errors
    /// When there are not as many group ids as rows.
    pub fn with_groups(self, groups: &'a [i64]) -> Result<Self, MetricError> {
        check_length("groups", groups.len(), self.len())?;
        Ok(Self {
            groups: Some(groups),
            ..self
        })
    }

    /// How many rows there are, those of weight zero included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// What kind of scores the rows have, and the scores.
    #[must_use]
    pub fn scores(&self) -> Scores<'a> {
        self.scores
    }

    /// The rows that weigh something, in order.
    pub fn iter(&self) -> impl Iterator<Item = Row> + 'a {
        let rows = *self;
        (0..rows.len())
            .map(move |index| rows.row(index))
            .filter(|row| row.weight > 0.0)
    }

    /// Row `index`, whatever it weighs.
    fn row(&self, index: usize) -> Row {
        Row {
            score: self.scores.values()[index],
            is_logit: matches!(self.scores, Scores::Logits(_)),
            label: f64::from(self.labels[index]),
            weight: self
                .weights
                .map_or(1.0, |weights| f64::from(weights[index])),
            group: self.groups.map_or(0, |groups| groups[index]),
        }
    }

    pub(super) fn labels(&self) -> &'a [f32] {
        self.labels
    }

    pub(super) fn weights(&self) -> Option<&'a [f32]> {
        self.weights
    }

    pub(super) fn groups(&self) -> Option<&'a [i64]> {
        self.groups
    }
}

/// 1 / (1 + e^−x), without overflow at either end.
#[must_use]
pub fn sigmoid(logit: f64) -> f64 {
    if logit >= 0.0 {
        1.0 / (1.0 + (-logit).exp())
    } else {
        let odds = logit.exp();
        odds / (1.0 + odds)
    }
}

pub(super) fn check_length(column: &str, found: usize, expected: usize) -> Result<(), MetricError> {
    if found == expected {
        return Ok(());
    }
    Err(MetricError::Length {
        column: column.to_owned(),
        expected,
        found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_other_lengths_and_bad_numbers_are_refused() {
        let scores = Scores::Logits(&[0.0, 1.0]);
        let length = Rows::new(scores, &[1.0]).unwrap_err();
        assert_eq!(
            length.to_string(),
            "labels has 1 values where the scores call for 2"
        );
        assert!(Rows::new(scores, &[1.0, f32::NAN]).is_err());
        let rows = Rows::new(scores, &[1.0, 0.0]).unwrap();
        let weight = rows.with_weights(&[1.0, -2.0]).unwrap_err();
        assert_eq!(
            weight.to_string(),
            "weight -2 of row 1 must be finite and at least 0"
        );
        assert!(rows.with_weights(&[f32::INFINITY, 1.0]).is_err());
        assert!(rows.with_groups(&[1]).is_err());
    }

    #[test]
    fn rows_without_weight_are_left_out() {
        let rows = Rows::new(Scores::Probabilities(&[f32::NAN, 0.5]), &[1.0, 0.0]).unwrap();
        let rows = rows.with_weights(&[0.0, 2.0]).unwrap();
        let kept: Vec<Row> = rows.iter().collect();
        assert_eq!(kept.len(), 1);
        assert!((kept[0].probability() - 0.5).abs() < 1e-12);
    }

    #[test]
    fn the_sigmoid_holds_at_both_ends() {
        assert!((sigmoid(0.0) - 0.5).abs() < 1e-15);
        assert!(sigmoid(-1e4).abs() < 1e-300);
        assert!((sigmoid(1e4) - 1.0).abs() < 1e-15);
    }
}
