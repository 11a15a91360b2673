//! The training loss: binary cross-entropy per task, its mean over the batch, and the mean of these over the tasks.
//!
//! Legend: `B` rows, `T` model tasks, `D` data tasks.

use tch::{Device, Kind, Tensor};

use crate::config::NonNegative;
use crate::torch::TorchError;

/// The losses of one batch.
#[derive(Debug)]
pub struct Losses {
    /// A scalar, with its graph.
    pub total: Tensor,
    /// `[T]` in the order of the model tasks.
    pub per_task: Tensor,
}

/// Why a loss cannot be built or computed.
#[derive(Debug, thiserror::Error)]
pub enum LossError {
    /// A task has no label.
    #[error("model.tasks: `{task}` has no label, add it to train_data.tasks")]
    NoLabel {
        /// The model task.
        task: String,
    },
    /// Labels or weights are of other data tasks.
    #[error("the loss was built for {expected} data tasks, the batch has {what} of {found}")]
    Columns {
        /// `labels` or `weights`.
        what: &'static str,
        /// Number of data tasks.
        expected: usize,
        /// Columns of the batch.
        found: i64,
    },
    /// libtorch refused.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

impl From<tch::TchError> for LossError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}

/// Binary cross-entropy over several tasks; labels find their task by name.
#[derive(Debug)]
pub struct MultiTaskLoss {
    /// `[T]` i64: the label column of each model task; `None` where the columns are the tasks already.
    columns: Option<Tensor>,
    /// `D`, the number of data tasks.
    data_tasks: usize,
    /// `[T]` f32; `None` where all are 1.
    pos_weights: Option<Tensor>,
}

impl MultiTaskLoss {
    /// `model_tasks` are the model tasks with the factor on the loss of their positive labels.
    ///
    /// # Errors
    /// When a model task is not among the data tasks.
    pub fn build(
        model_tasks: &[(&str, NonNegative)],
        data_tasks: &[&str],
        device: Device,
    ) -> Result<Self, LossError> {
        let columns = if model_tasks.iter().map(|(task, _)| task).eq(data_tasks) {
            None
        } else {
            let columns = label_columns(model_tasks, data_tasks)?;
            Some(Tensor::f_from_slice(&columns)?.f_to_device(device)?)
        };
        let pos_weights: Vec<f64> = model_tasks.iter().map(|(_, weight)| weight.get()).collect();
        #[allow(
            clippy::float_cmp,
            reason = "exactly 1 is the weight that does nothing"
        )]
        let all_one = pos_weights.iter().all(|&weight| weight == 1.0);
        let pos_weights = if all_one {
            None
        } else {
            let weights = Tensor::f_from_slice(&pos_weights)?.f_to_kind(Kind::Float)?;
            Some(weights.f_to_device(device)?)
        };
        Ok(Self {
            columns,
            data_tasks: data_tasks.len(),
            pos_weights,
        })
    }

    /// The losses of `logits` `[B, T]` against `labels` `[B, D]`, weighted by `weights` `[B, D]`.
    ///
    /// # Errors
    /// When labels or weights are not of the data tasks, or not of the rows of the logits.
    pub fn forward(
        &self,
        logits: &Tensor,
        labels: &Tensor,
        weights: Option<&Tensor>,
    ) -> Result<Losses, LossError> {
        let kind = logits.kind();
        let labels = self.pick("labels", labels)?.f_to_kind(kind)?;
        let weights = weights.map(|weights| {
            let weights = self.pick("weights", weights)?;
            Ok::<_, LossError>(weights.f_to_kind(kind)?)
        });
        let weights = weights.transpose()?;
        let pos_weights = self
            .pos_weights
            .as_ref()
            .map(|weights| weights.f_to_kind(kind));
        let losses = logits.f_binary_cross_entropy_with_logits(
            &labels,
            weights.as_ref(),
            pos_weights.transpose()?.as_ref(),
            tch::Reduction::None,
        )?;
        let per_task = losses.f_mean_dim(0, false, None)?;
        let total = per_task.f_mean_dim(0, false, None)?;
        Ok(Losses { total, per_task })
    }

    /// The columns of the model tasks in `table`, `[B, D]`.
    fn pick(&self, what: &'static str, table: &Tensor) -> Result<Tensor, LossError> {
        let found = table.size().get(1).copied().unwrap_or(1);
        if usize::try_from(found) != Ok(self.data_tasks) {
            return Err(LossError::Columns {
                what,
                expected: self.data_tasks,
                found,
            });
        }
        match &self.columns {
            Some(columns) => Ok(table.f_index_select(1, columns)?),
            None => Ok(table.shallow_clone()),
        }
    }
}

fn label_columns(
    model_tasks: &[(&str, NonNegative)],
    data_tasks: &[&str],
) -> Result<Vec<i64>, LossError> {
    let column = |(task, _): &(&str, NonNegative)| {
        let position = data_tasks.iter().position(|known| known == task);
        position
            .and_then(|position| i64::try_from(position).ok())
            .ok_or_else(|| LossError::NoLabel {
                task: (*task).to_owned(),
            })
    };
    model_tasks.iter().map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(value: f64) -> NonNegative {
        NonNegative::new(value).unwrap()
    }

    fn build([a, b]: [f64; 2]) -> MultiTaskLoss {
        let model = [("a", weight(a)), ("b", weight(b))];
        MultiTaskLoss::build(&model, &["b", "x", "a"], Device::Cpu).unwrap()
    }

    /// One row of per-task losses: `ln(1 + e^-x)` for a positive label, `ln(1 + e^x)` for a negative one.
    fn softplus(x: f64) -> f64 {
        x.exp().ln_1p()
    }

    fn doubles(tensor: &Tensor) -> Vec<f64> {
        Vec::<f64>::try_from(tensor.to_kind(Kind::Double).view(-1)).unwrap()
    }

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    /// Three rows; columns of labels and weights are b, x, a.
    fn example() -> (Tensor, Tensor, Tensor) {
        let logits = Tensor::from_slice(&[1.0, -2.0, 0.5, 3.0, -1.0, 0.0]).view([3, 2]);
        let labels = Tensor::from_slice(&[1f32, 9.0, 0.0, 0.0, 9.0, 1.0, 1.0, 9.0, 1.0]);
        let weights = Tensor::from_slice(&[1f32, 9.0, 2.0, 3.0, 9.0, 1.0, 0.5, 9.0, 4.0]);
        (logits, labels.view([3, 3]), weights.view([3, 3]))
    }

    #[test]
    fn labels_and_weights_find_their_task_by_name() {
        let (logits, labels, weights) = example();
        let loss = build([1.0, 2.0]);
        let losses = loss.forward(&logits, &labels, Some(&weights)).unwrap();
        let a = (2.0 * softplus(1.0) + softplus(-0.5) + 4.0 * softplus(1.0)) / 3.0;
        let b = (2.0 * softplus(2.0) + 3.0 * softplus(3.0) + 0.5 * 2.0 * softplus(0.0)) / 3.0;
        close(&doubles(&losses.per_task), &[a, b]);
        close(&doubles(&losses.total), &[(a + b) / 2.0]);
    }

    #[test]
    fn labels_and_weights_of_other_tasks_are_refused() {
        let (logits, labels, weights) = example();
        let loss = build([1.0, 1.0]);
        let message = |labels: &Tensor, weights: &Tensor| {
            let losses = loss.forward(&logits, labels, Some(weights));
            losses.unwrap_err().to_string()
        };
        let narrow = |table: &Tensor| table.narrow(1, 0, 2);
        assert_eq!(
            message(&narrow(&labels), &weights),
            "the loss was built for 3 data tasks, the batch has labels of 2"
        );
        assert_eq!(
            message(&labels, &narrow(&weights)),
            "the loss was built for 3 data tasks, the batch has weights of 2"
        );
    }

    #[test]
    fn a_task_without_a_label_is_named() {
        let model = [("a", weight(1.0)), ("c", weight(1.0))];
        let built = MultiTaskLoss::build(&model, &["a"], Device::Cpu);
        let message = built.unwrap_err().to_string();
        assert_eq!(
            message,
            "model.tasks: `c` has no label, add it to train_data.tasks"
        );
    }
}
