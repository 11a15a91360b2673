//! What an evaluation found: numbers by name, log lines, and one whole from the shares of all ranks.

use serde::{Deserialize, Serialize};
use tracing::info;

use super::session::Session;
use crate::metrics::{Metric, MetricSet, Results, TaskMetrics, bits};

/// The files of a partition hold no record that can be evaluated.
#[derive(Debug, thiserror::Error)]
#[error("validation_data.{partition}: there is no row to evaluate on in its files")]
pub struct NoRows {
    partition: String,
}

impl NoRows {
    /// Of the partition of this name.
    #[must_use]
    pub fn of(partition: &str) -> Self {
        let partition = partition.to_owned();
        Self { partition }
    }
}

/// Metrics of the log lines; results hold all.
const LOGGED: [&str; 8] = [
    "count", "ctr", "pctr", "log_loss", "rce", "nrce", "auroc", "pr_auc",
];

/// What an evaluation found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evaluation {
    /// The partition.
    pub partition: String,
    /// Batches it is over.
    pub batches: u64,
    /// Rows it is over.
    pub examples: u64,
    /// Training loss of each row, summed; NaN where the partition lacks the label of a model task.
    #[serde(with = "bits")]
    pub(super) loss_sum: f64,
    /// The metrics with everything they can tell.
    pub metrics: MetricSet,
}

impl Evaluation {
    #[cfg(test)]
    pub(super) fn of(partition: &str, examples: u64, loss_sum: f64, metrics: MetricSet) -> Self {
        Self {
            partition: partition.to_owned(),
            batches: 1,
            examples,
            loss_sum,
            metrics,
        }
    }

    /// Mean training loss over the rows; NaN where the partition lacks the label of a model task.
    #[must_use]
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.examples as f64
    }

    /// The evaluation of all ranks, from the share of this one.
    ///
    /// # Errors
    /// When a rank is lost, or sends something that cannot be read.
    pub fn gather(self, session: &Session) -> anyhow::Result<Self> {
        if !session.is_distributed() {
            return self.with_rows();
        }
        session.merge(self, Self::add)?.with_rows()
    }

    /// Itself, if it has seen rows: of none there is nothing to say, and nobody should take that for a result.
    ///
    /// # Errors
    /// When there is no row.
    pub fn with_rows(self) -> anyhow::Result<Self> {
        if self.examples == 0 {
            return Err(NoRows::of(&self.partition).into());
        }
        Ok(self)
    }

    fn add(&mut self, share: &Self) -> anyhow::Result<()> {
        // The ranks make their batches together.
        self.batches = self.batches.max(share.batches);
        self.examples += share.examples;
        self.loss_sum += share.loss_sum;
        Ok(self.metrics.merge(&share.metrics)?)
    }

    /// Every number: `loss`, then those of the metrics under `task/metric` and `task/column=value/metric`.
    #[must_use]
    pub fn results(&self) -> Results {
        let mut results = Results::new();
        results.insert("loss".to_owned(), self.loss());
        results.extend(self.metrics.compute());
        results
    }

    /// The mean of one metric over the tasks, over all rows.
    #[must_use]
    pub fn mean(&self, metric: &str) -> Option<f64> {
        let results = self.metrics.compute();
        let values: Vec<f64> = self
            .metrics
            .tasks()
            .filter_map(|(task, _)| results.get(&format!("{task}/{metric}")).copied())
            .collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }

    /// Logs one line for the partition and one for each task.
    pub fn log(&self, global_step: u64, seconds: f64) {
        let (partition, loss) = (self.partition.as_str(), self.loss());
        let (batches, examples) = (self.batches, self.examples);
        info!(
            name: "evaluated",
            global_step,
            partition,
            eval_loss = loss,
            batches,
            examples,
            seconds,
            "evaluated"
        );
        for (task, metrics) in self.metrics.tasks() {
            log_task(global_step, partition, task, metrics);
        }
    }
}

fn log_task(global_step: u64, partition: &str, task: &str, metrics: &TaskMetrics) {
    let results = metrics.compute();
    let [count, ctr, pctr, log_loss, rce, nrce, auroc, pr_auc] =
        LOGGED.map(|name| results.get(name).copied());
    info!(
        name: "evaluation",
        global_step,
        partition, task, count, ctr, pctr, log_loss, rce, nrce, auroc, pr_auc, "evaluation"
    );
}
