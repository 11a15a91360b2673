//! Metrics over the last batches that were trained on, from what their steps computed anyhow.

use std::collections::VecDeque;

use tch::Tensor;
use tracing::info;

use super::evaluate::floats;
use super::session::Session;
use super::step::StepOutput;
use crate::config::RecapConfig;
use crate::metrics::{Metric, MetricSet, Scores, SetBatch};
use crate::torch::batch::Batch;

/// What is computed beside the loss.
const METRICS: &str = "count,ctr,pctr,calibration,rce,auroc";

/// The last batches of this rank. Tensors stay on the device until they are logged, so no step waits for them.
#[derive(Debug)]
pub struct Window {
    size: usize,
    /// Model tasks, the columns of logits.
    tasks: Vec<String>,
    /// For each of them its column among the labels.
    labels: Vec<i64>,
    batches: VecDeque<Seen>,
}

/// One batch as it was trained on; all of one row order.
#[derive(Debug)]
struct Seen {
    /// `[B, T]`.
    logits: Tensor,
    /// `[B, D]`.
    labels: Tensor,
    /// `[B, D]`; absent where every weight is one.
    weights: Option<Tensor>,
    /// `[T]`.
    losses: Tensor,
}

impl Window {
    /// The empty window that `training.log_metrics_window` asks for; `None` where it is off.
    #[must_use]
    pub fn build(config: &RecapConfig) -> Option<Self> {
        let size = config.training.log_metrics_window?;
        let tasks: Vec<String> = config.model.tasks.keys().cloned().collect();
        let data = &config.train_data.tasks;
        let place = |task: &String| i64::try_from(data.get_index_of(task)?).ok();
        Some(Self {
            size: usize::try_from(size.get()).unwrap_or(usize::MAX),
            // The loss refuses a task without a label, so all of them have a place.
            labels: tasks.iter().filter_map(place).collect(),
            tasks,
            batches: VecDeque::new(),
        })
    }

    /// Takes in a batch and what its step computed; lets go of the oldest.
    pub fn add(&mut self, batch: &Batch, output: &StepOutput) {
        let Some(labels) = &batch.labels else {
            return;
        };
        if self.batches.len() >= self.size {
            self.batches.pop_front();
        }
        self.batches.push_back(Seen {
            logits: output.logits.shallow_clone(),
            labels: labels.shallow_clone(),
            weights: batch.weights.as_ref().map(Tensor::shallow_clone),
            losses: output.task_losses.shallow_clone(),
        });
    }

    /// Logs one line per task, of all ranks together; every rank calls this at the same step.
    ///
    /// # Errors
    /// When a rank is lost, or libtorch refuses.
    pub fn log(&self, session: &Session, global_step: u64) -> anyhow::Result<()> {
        let losses = match self.losses()? {
            Some(losses) => session.means(&losses)?,
            None => Vec::new(),
        };
        let metrics = session.merge(self.metrics()?, |all, share| Ok(all.merge(share)?))?;
        let batches = self.batches.len();
        for (place, (task, metrics)) in metrics.tasks().enumerate() {
            let results = metrics.compute();
            let [count, ctr, pctr, calibration, rce, auroc] =
                ["count", "ctr", "pctr", "calibration", "rce", "auroc"]
                    .map(|name| results.get(name).copied());
            let loss = losses.get(place).copied();
            info!(
                name: "last_batches",
                global_step,
                task, batches, loss, count, ctr, pctr, calibration, rce, auroc, "last batches"
            );
        }
        Ok(())
    }

    /// The mean loss of every task, `[T]`; `None` before the first batch.
    fn losses(&self) -> anyhow::Result<Option<Tensor>> {
        let losses: Vec<&Tensor> = self.batches.iter().map(|seen| &seen.losses).collect();
        if losses.is_empty() {
            return Ok(None);
        }
        let mean = Tensor::f_stack(&losses, 0)?.f_mean_dim(0, false, None)?;
        Ok(Some(mean))
    }

    fn metrics(&self) -> anyhow::Result<MetricSet> {
        let mut metrics = MetricSet::build(&self.tasks, None, Some(METRICS), &[])?;
        for seen in &self.batches {
            let own = Tensor::from_slice(&self.labels).to_device(seen.labels.device());
            let pick = |tensor: &Tensor| floats(&tensor.f_index_select(1, &own)?);
            let weights = seen.weights.as_ref().map(pick).transpose()?;
            metrics.update(&SetBatch {
                scores: Scores::Logits(&floats(&seen.logits)?),
                labels: &pick(&seen.labels)?,
                weights: weights.as_deref(),
                groups: None,
                columns: &[],
            })?;
        }
        Ok(metrics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::step::StepTimes;

    fn window(size: usize) -> Window {
        Window {
            size,
            tasks: vec!["a".to_owned(), "b".to_owned()],
            labels: vec![2, 0],
            batches: VecDeque::new(),
        }
    }

    /// A batch of two rows and three labels whose tasks `a` and `b` have `logits` and labels 1 and 0.
    fn add(window: &mut Window, logits: [f32; 4], loss: f32) {
        let labels = Tensor::from_slice(&[0.0_f32, 9.0, 1.0, 1.0, 9.0, 0.0]).view([2, 3]);
        let empty = || Tensor::zeros([2, 0], (tch::Kind::Float, tch::Device::Cpu));
        let batch = Batch {
            continuous: empty(),
            binary: empty(),
            discrete: None,
            user_embedding: None,
            user_eng_embedding: None,
            author_embedding: None,
            labels: Some(labels),
            weights: None,
        };
        let output = StepOutput {
            loss: Tensor::from(loss),
            task_losses: Tensor::from_slice(&[loss, 2.0 * loss]),
            logits: Tensor::from_slice(&logits).view([2, 2]),
            grad_norm: None,
            group_norms: Vec::new(),
            times: StepTimes::default(),
        };
        window.add(&batch, &output);
    }

    #[test]
    fn a_window_is_over_the_last_batches_and_matches_labels_by_name() {
        let mut window = window(2);
        assert!(window.losses().unwrap().is_none());
        add(&mut window, [-9.0, -9.0, 9.0, 9.0], 100.0);
        add(&mut window, [3.0, -2.0, -3.0, 2.0], 1.0);
        add(&mut window, [2.0, 1.0, -1.0, 0.5], 3.0);
        let losses = Vec::<f64>::try_from(window.losses().unwrap().unwrap()).unwrap();
        assert_eq!(losses, [2.0, 4.0]);
        let results = window.metrics().unwrap().compute();
        // `a` ranks every positive first; of `b`'s four pairs (2, 0.5 against -2, 1) three are in order.
        assert!((results["a/auroc"] - 1.0).abs() < 1e-12);
        assert!((results["b/auroc"] - 0.75).abs() < 1e-12);
        assert!((results["b/count"] - 2.0).abs() < 1e-9, "{results:?}");
        assert!((results["a/ctr"] - 0.5).abs() < 1e-12);
    }
}
