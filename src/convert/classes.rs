//! How often each label is 1: a label that is the same in every row was compared wrongly, or is none.

use super::error::{ConvertError, Failure};
use super::plan::Plan;
use super::row::Row;

/// The labels of some rows, counted.
#[derive(Clone, Debug)]
pub(super) struct Classes {
    rows: u64,
    /// By label: rows where it is 1.
    positives: Vec<u64>,
}

impl Classes {
    /// Of no rows yet.
    pub(super) fn new(plan: &Plan) -> Self {
        Self::of(0, vec![0; plan.labels.len()])
    }

    pub(super) fn of(rows: u64, positives: Vec<u64>) -> Self {
        Self { rows, positives }
    }

    /// Counts the labels of `row`.
    pub(super) fn add(&mut self, plan: &Plan, row: &Row) -> Result<(), Failure> {
        self.rows += 1;
        for (label, count) in plan.labels.iter().zip(&mut self.positives) {
            *count += u64::from(label.read(row)? == Some(true));
        }
        Ok(())
    }

    /// Takes in what another thread has counted.
    pub(super) fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        for (own, other) in self.positives.iter_mut().zip(&other.positives) {
            *own += other;
        }
    }

    /// Refuses a label of one class among the rows that are trained on, those of `part`; where the mapping allows it, it
    /// is only warned of.
    pub(super) fn check(&self, plan: &Plan, part: &str) -> Result<(), ConvertError> {
        if plan.allow_one_class {
            self.warn(plan, part);
            return Ok(());
        }
        self.constant(plan, part).next().map_or(Ok(()), Err)
    }

    /// Warns of every label of one class in `part`, of which its metrics say nothing.
    pub(super) fn warn(&self, plan: &Plan, part: &str) {
        for error in self.constant(plan, part) {
            let ConvertError::OneClass {
                task,
                comparison,
                found,
                rows,
                ..
            } = error
            else {
                continue;
            };
            tracing::warn!(
                task,
                comparison,
                part,
                rows,
                holds_in = found,
                "a label is the same in every row of a part"
            );
        }
    }

    fn constant(&self, plan: &Plan, part: &str) -> impl Iterator<Item = ConvertError> {
        let labels = plan.labels.iter().zip(&self.positives);
        labels.filter_map(move |(label, &positives)| {
            let found = match positives {
                _ if self.rows == 0 => return None,
                0 => "none",
                all if all == self.rows => "all",
                _ => return None,
            };
            Some(ConvertError::OneClass {
                task: label.task.clone(),
                comparison: label.expression.to_string(),
                found,
                rows: self.rows,
                part: part.to_owned(),
            })
        })
    }
}
