//! The training loss: binary cross-entropy per task, reduced over the batch and then over the tasks.
//!
//! Legend: `B` rows, `T` model tasks, `D` data tasks.

use tch::{Device, Kind, Tensor};

use crate::torch::TorchError;

/// How many losses become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// The arithmetic mean.
    #[default]
    Mean,
    /// The sum.
    Sum,
    /// The smallest; equal ones share the gradient.
    Min,
    /// The largest; equal ones share the gradient.
    Max,
    /// The lower median; its first occurrence takes the gradient.
    Median,
}

/// How the losses of a batch become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reductions {
    /// Over the rows of a batch, per task.
    pub rows: Reduction,
    /// Over the tasks.
    pub tasks: Reduction,
}

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
    /// There must be one weight per task.
    #[error("expected {expected} pos_weights, one per model task, found {found}")]
    PosWeights {
        /// Number of model tasks.
        expected: usize,
        /// Number of weights.
        found: usize,
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
    /// `[T]` f32; `None` where all are 1.
    pos_weights: Option<Tensor>,
    reductions: Reductions,
}

impl MultiTaskLoss {
    /// `pos_weights` holds, per model task, the factor on the loss of positive labels.
    ///
    /// # Errors
    /// When a model task is not among the data tasks, or the weights are not one per model task.
    pub fn build(
        model_tasks: &[String],
        data_tasks: &[String],
        pos_weights: &[f64],
        device: Device,
        reductions: Reductions,
    ) -> Result<Self, LossError> {
        if pos_weights.len() != model_tasks.len() {
            return Err(LossError::PosWeights {
                expected: model_tasks.len(),
                found: pos_weights.len(),
            });
        }
        let columns = if model_tasks == data_tasks {
            None
        } else {
            let columns = label_columns(model_tasks, data_tasks)?;
            Some(Tensor::f_from_slice(&columns)?.f_to_device(device)?)
        };
        #[allow(
            clippy::float_cmp,
            reason = "exactly 1 is the weight that does nothing"
        )]
        let all_one = pos_weights.iter().all(|&weight| weight == 1.0);
        let pos_weights = if all_one {
            None
        } else {
            let weights = Tensor::f_from_slice(pos_weights)?.f_to_kind(Kind::Float)?;
            Some(weights.f_to_device(device)?)
        };
        Ok(Self {
            columns,
            pos_weights,
            reductions,
        })
    }

    /// The losses of `logits` `[B, T]` against `labels` `[B, D]`, weighted by `weights` `[B, D]`.
    ///
    /// # Errors
    /// When shapes do not fit together.
    pub fn forward(
        &self,
        logits: &Tensor,
        labels: &Tensor,
        weights: Option<&Tensor>,
    ) -> Result<Losses, LossError> {
        let kind = logits.kind();
        let labels = self.pick(labels)?.f_to_kind(kind)?;
        let weights =
            weights.map(|weights| self.pick(weights)?.f_to_kind(kind).map_err(Into::into));
        let weights: Option<Tensor> = weights.transpose().map_err(|error: TorchError| error)?;
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
        let per_task = self.reductions.rows.over_first(&losses)?;
        let total = self.reductions.tasks.over_first(&per_task)?;
        Ok(Losses { total, per_task })
    }

    /// The columns of the model tasks.
    fn pick(&self, table: &Tensor) -> Result<Tensor, TorchError> {
        match &self.columns {
            Some(columns) => Ok(table.f_index_select(1, columns)?),
            None => Ok(table.shallow_clone()),
        }
    }
}

impl Reduction {
    /// Reduces the first dimension.
    fn over_first(self, losses: &Tensor) -> Result<Tensor, TorchError> {
        Ok(match self {
            Self::Mean => losses.f_mean_dim(0, false, None)?,
            Self::Sum => losses.f_sum_dim_intlist(0, false, None)?,
            Self::Min => losses.f_amin(0, false)?,
            Self::Max => losses.f_amax(0, false)?,
            Self::Median => losses.f_median_dim(0, false)?.0,
        })
    }
}

fn label_columns(model_tasks: &[String], data_tasks: &[String]) -> Result<Vec<i64>, LossError> {
    let column = |task: &String| {
        let position = data_tasks.iter().position(|known| known == task);
        position
            .and_then(|position| i64::try_from(position).ok())
            .ok_or_else(|| LossError::NoLabel { task: task.clone() })
    };
    model_tasks.iter().map(column).collect()
}
