//! The metrics of an evaluation: per task, over all rows and per stratum.

use serde::{Deserialize, Serialize};

use super::rows::check_length;
use super::{
    Metric, MetricError, MetricName, Results, Rows, Scores, Stratified, Stratum, TaskMetrics,
};

/// The chosen metrics for every task, and again for every stratum of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricSet {
    num_tasks: usize,
    tasks: Vec<Task>,
}

/// The metrics of the task in column `column`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Task {
    name: String,
    column: usize,
    whole: TaskMetrics,
    strata: Vec<Stratified<TaskMetrics>>,
}

/// One batch of all tasks: `B` rows, `T` tasks.
#[derive(Clone, Copy, Debug)]
pub struct SetBatch<'a> {
    /// `[B, T]`, row-major.
    pub scores: Scores<'a>,
    /// `[B, T]`, row-major, in the same order of tasks as the scores.
    pub labels: &'a [f32],
    /// `[B, T]`, row-major; none where every row weighs 1.
    pub weights: Option<&'a [f32]>,
    /// `[B]`: the group of each row, for `gauc`.
    pub groups: Option<&'a [i64]>,
    /// Columns `[B]` by name that strata look at.
    pub columns: &'a [(&'a str, &'a [i64])],
}

impl MetricSet {
    /// Metrics for `tasks`, the columns of the batches to come, or for those of them that `evaluation_tasks` names;
    /// `which_metrics` as in [`MetricName::select`].
    ///
    /// # Errors
    /// When a metric or an evaluation task is unknown.
    pub fn build(
        tasks: &[String],
        evaluation_tasks: Option<&[String]>,
        which_metrics: Option<&str>,
        strata: &[Stratum],
    ) -> Result<Self, MetricError> {
        let names = MetricName::select(which_metrics)?;
        let mut chosen = Vec::new();
        for name in evaluation_tasks.unwrap_or(tasks) {
            let column = tasks.iter().position(|task| task == name);
            let column = column.ok_or_else(|| MetricError::UnknownTask {
                name: name.clone(),
                known: tasks.to_vec(),
            })?;
            let whole = TaskMetrics::new(&names);
            let per_stratum = |stratum: &Stratum| Stratified::new(stratum.clone(), whole.clone());
            chosen.push(Task {
                name: name.clone(),
                column,
                strata: strata.iter().map(per_stratum).collect(),
                whole,
            });
        }
        Ok(Self {
            num_tasks: tasks.len(),
            tasks: chosen,
        })
    }

    /// Takes in one batch.
    ///
    /// # Errors
    /// When the columns of the batch do not fit together, a label or weight is no number to count with, or something
    /// that a metric or stratum needs is missing. The batch is then taken in for no task or for the tasks before.
    pub fn update(&mut self, batch: &SetBatch<'_>) -> Result<(), MetricError> {
        let num_tasks = self.num_tasks;
        check_length("labels", batch.labels.len(), batch.scores.values().len())?;
        for task in &mut self.tasks {
            let scores = column_of(batch.scores.values(), task.column, num_tasks);
            let labels = column_of(batch.labels, task.column, num_tasks);
            let weights = match batch.weights {
                Some(weights) => {
                    check_length("weights", weights.len(), batch.labels.len())?;
                    Some(column_of(weights, task.column, num_tasks))
                }
                None => None,
            };
            let mut rows = Rows::new(batch.scores.with_values(&scores), &labels)?;
            if let Some(weights) = &weights {
                rows = rows.with_weights(weights)?;
            }
            if let Some(groups) = batch.groups {
                rows = rows.with_groups(groups)?;
            }
            task.update(&rows, batch.columns)?;
        }
        Ok(())
    }

    /// Takes in what `other` has seen.
    ///
    /// # Errors
    /// When the two were not built alike.
    pub fn merge(&mut self, other: &Self) -> Result<(), MetricError> {
        let is_alike = |pair: (&Task, &Task)| pair.0.is_like(pair.1);
        let are_alike = self.num_tasks == other.num_tasks
            && self.tasks.len() == other.tasks.len()
            && self.tasks.iter().zip(&other.tasks).all(is_alike);
        if !are_alike {
            return Err(MetricError::Layout);
        }
        for (task, others) in self.tasks.iter_mut().zip(&other.tasks) {
            task.whole.merge(&others.whole);
            for (stratum, others) in task.strata.iter_mut().zip(&others.strata) {
                stratum.merge(others);
            }
        }
        Ok(())
    }

    /// Every number, named `task/metric` and, for a stratum, `task/column=value/metric`.
    #[must_use]
    pub fn compute(&self) -> Results {
        let mut results = Results::new();
        for task in &self.tasks {
            for (metric, value) in task.whole.compute() {
                results.insert(format!("{}/{metric}", task.name), value);
            }
            for stratified in &task.strata {
                let Stratum { column, value } = stratified.stratum();
                for (metric, number) in stratified.compute() {
                    results.insert(format!("{}/{column}={value}/{metric}", task.name), number);
                }
            }
        }
        results
    }

    /// Forgets every row.
    pub fn reset(&mut self) {
        for task in &mut self.tasks {
            task.whole.reset();
            for stratum in &mut task.strata {
                stratum.reset();
            }
        }
    }

    /// The tasks with their metrics over all rows: for tables, curves and error bounds.
    pub fn tasks(&self) -> impl Iterator<Item = (&str, &TaskMetrics)> {
        self.tasks
            .iter()
            .map(|task| (task.name.as_str(), &task.whole))
    }
}

impl Task {
    fn update(&mut self, rows: &Rows<'_>, columns: &[(&str, &[i64])]) -> Result<(), MetricError> {
        if self.whole.names().contains(&MetricName::Gauc) && rows.groups().is_none() {
            return Err(MetricError::MissingGroups);
        }
        self.whole.update(rows);
        for stratified in &mut self.strata {
            let Stratum { column, value } = stratified.stratum();
            let found = columns.iter().find(|(name, _)| name == column);
            let (_, values) = found.ok_or_else(|| MetricError::MissingColumn {
                column: column.clone(),
                value: *value,
            })?;
            stratified.update(rows, values)?;
        }
        Ok(())
    }

    fn is_like(&self, other: &Self) -> bool {
        let strata = |task: &Self| -> Vec<Stratum> {
            let stratum = |one: &Stratified<TaskMetrics>| one.stratum().clone();
            task.strata.iter().map(stratum).collect()
        };
        self.name == other.name
            && self.column == other.column
            && self.whole.names() == other.whole.names()
            && strata(self) == strata(other)
    }
}

/// Column `column` of row-major values with `width` columns.
fn column_of(values: &[f32], column: usize, width: usize) -> Vec<f32> {
    values.iter().skip(column).step_by(width).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tasks: &[&str]) -> Vec<String> {
        tasks.iter().map(ToString::to_string).collect()
    }

    fn strata() -> [Stratum; 1] {
        [Stratum {
            column: "lang".into(),
            value: 2,
        }]
    }

    fn batch<'a>(columns: &'a [(&'a str, &'a [i64])]) -> SetBatch<'a> {
        SetBatch {
            scores: Scores::Probabilities(&[0.1, 0.9, 0.2, 0.8, 0.3, 0.7]),
            labels: &[0.0, 1.0, 1.0, 0.0, 1.0, 1.0],
            weights: None,
            groups: None,
            columns,
        }
    }

    #[test]
    fn every_task_and_stratum_has_its_numbers_in_order() {
        let tasks = names(&["fav", "reply"]);
        let mut set = MetricSet::build(&tasks, None, Some("ctr,auroc"), &strata()).unwrap();
        set.update(&batch(&[("lang", &[2, 1, 2])])).unwrap();
        let results = set.compute();
        let keys: Vec<&str> = results.keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "fav/ctr",
                "fav/auroc",
                "fav/lang=2/ctr",
                "fav/lang=2/auroc",
                "reply/ctr",
                "reply/auroc",
                "reply/lang=2/ctr",
                "reply/lang=2/auroc",
            ]
        );
        assert!((results["fav/auroc"] - 1.0).abs() < 1e-12);
        assert!((results["fav/lang=2/ctr"] - 0.5).abs() < 1e-12);
        assert!(results["reply/lang=2/auroc"].is_nan());
        let json = serde_json::to_string(&results).unwrap();
        assert!(json.contains("\"reply/lang=2/auroc\":null"));
    }

    #[test]
    fn sets_merge_only_with_their_like() {
        let tasks = names(&["fav", "reply"]);
        let build = |which| MetricSet::build(&tasks, None, Some(which), &strata()).unwrap();
        let columns: [(&str, &[i64]); 1] = [("lang", &[2, 1, 2])];
        let mut whole = build("all");
        let grouped = SetBatch {
            groups: Some(&[1, 1, 2]),
            ..batch(&columns)
        };
        whole.update(&grouped).unwrap();
        whole.update(&grouped).unwrap();
        let mut half = build("all");
        half.update(&grouped).unwrap();
        let text = serde_json::to_string(&half).unwrap();
        half.merge(&serde_json::from_str(&text).unwrap()).unwrap();
        for (name, value) in whole.compute() {
            let found = half.compute()[&name];
            let is_same = (found - value).abs() < 1e-9 || found.is_nan() && value.is_nan();
            assert!(is_same, "{name}: {found} is not {value}");
        }
        assert_eq!(half.merge(&build("ctr")), Err(MetricError::Layout));
        half.reset();
        assert_eq!(half, build("all"));
    }

    #[test]
    fn evaluation_tasks_pick_their_own_column() {
        let tasks = names(&["fav", "reply"]);
        let only = names(&["reply"]);
        let mut set = MetricSet::build(&tasks, Some(&only), Some("ctr"), &[]).unwrap();
        set.update(&batch(&[])).unwrap();
        assert_eq!(set.compute().len(), 1);
        assert!((set.compute()["reply/ctr"] - 2.0 / 3.0).abs() < 1e-12);
        let unknown = names(&["share"]);
        let error = MetricSet::build(&tasks, Some(&unknown), None, &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown evaluation task `share`: the tasks are fav, reply"
        );
    }

    #[test]
    fn what_a_metric_needs_must_be_there() {
        let tasks = names(&["fav", "reply"]);
        let mut grouped = MetricSet::build(&tasks, None, Some("gauc"), &[]).unwrap();
        assert_eq!(grouped.update(&batch(&[])), Err(MetricError::MissingGroups));
        let mut stratified = MetricSet::build(&tasks, None, None, &strata()).unwrap();
        let error = stratified.update(&batch(&[])).unwrap_err();
        assert!(error.to_string().contains("needs column `lang`"));
        let short = SetBatch {
            labels: &[0.0],
            ..batch(&[])
        };
        assert!(stratified.update(&short).is_err());
    }
}
