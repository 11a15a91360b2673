//! One training step: forward, loss, backward, update. Both loops call this and nothing else.

use anyhow::Context;
use tch::{Device, Tensor};

use super::TrainError;
use super::state::step_seed;
use crate::batch::Batch;
use crate::loss::MultiTaskLoss;
use crate::model::{Mode, Ranker};
use crate::optim::Optimizer;
use crate::torch::precision::autocast_bf16;

/// What a step needs beside the batch.
#[derive(Debug)]
pub struct Stepper {
    /// The model that is trained.
    pub ranker: Ranker,
    /// What is minimised.
    pub loss: MultiTaskLoss,
    /// What minimises it.
    pub optimizer: Optimizer,
    /// How.
    pub options: StepOptions,
}

/// How steps are made.
#[derive(Clone, Copy, Debug)]
pub struct StepOptions {
    /// Batches whose gradients are averaged before one update.
    pub accumulation: u64,
    /// Matrix products in bfloat16.
    pub mixed_precision: bool,
    /// Gradients are scaled down to this global norm.
    pub max_grad_norm: Option<f64>,
    /// `training.seed`.
    pub seed: i64,
    /// This process among those that train together.
    pub rank: u64,
}

/// What one step computed; the tensors are on the device and detached.
#[derive(Debug)]
pub struct StepOutput {
    /// The loss, a scalar, not divided by the accumulation.
    pub loss: Tensor,
    /// The loss of every task, `[T]`.
    pub task_losses: Tensor,
    /// `[B, T]` in model-task order.
    pub logits: Tensor,
    /// Global norm of the gradients before clipping, at a step with an update.
    pub grad_norm: Option<Tensor>,
}

impl Stepper {
    /// Where the parameters are.
    #[must_use]
    pub fn device(&self) -> Device {
        let first = self.ranker.state().parameters().next();
        first.map_or(Device::Cpu, |(_, parameter)| parameter.device())
    }

    /// Trains on one batch; `step` counts batches from 0. The parameters move at the last batch of an accumulation.
    ///
    /// # Errors
    /// When the loss or a gradient is not finite (before the parameters change), or libtorch fails.
    pub fn run(&mut self, step: u64, batch: &Batch) -> anyhow::Result<StepOutput> {
        tch::manual_seed(step_seed(self.options.seed, step, self.options.rank));
        let output = self.backward(step, batch)?;
        if (step + 1).is_multiple_of(self.options.accumulation) {
            return self.update(step, output);
        }
        Ok(output)
    }

    /// Forward and backward: adds this batch's share to the gradients.
    fn backward(&mut self, step: u64, batch: &Batch) -> anyhow::Result<StepOutput> {
        let labels = batch.labels.as_ref().context("the batch has no labels")?;
        let device = batch.continuous.device();
        let (logits, losses) = autocast_bf16(self.options.mixed_precision, device, || {
            let outputs = self.ranker.forward(batch, Mode::Train)?;
            // The loss stays in f32: its logarithms need the mantissa.
            let logits = outputs.logits.to_kind(tch::Kind::Float);
            let losses = self.loss.forward(&logits, labels, batch.weights.as_ref())?;
            anyhow::Ok((logits, losses))
        })?
        .with_context(|| format!("the forward pass of step {step} failed"))?;
        if !losses.total.double_value(&[]).is_finite() {
            let what = format!(
                "the loss ({})",
                self.first_non_finite_task(&losses.per_task)
            );
            return Err(TrainError::Diverged {
                step,
                what,
                records: String::new(),
            }
            .into());
        }
        let share = if self.options.accumulation == 1 {
            losses.total.shallow_clone()
        } else {
            &losses.total / self.options.accumulation.cast_signed()
        };
        share
            .f_backward()
            .with_context(|| format!("the backward pass of step {step} failed"))?;
        Ok(StepOutput {
            loss: losses.total.detach(),
            task_losses: losses.per_task.detach(),
            logits: logits.detach(),
            grad_norm: None,
        })
    }

    /// Moves the parameters and clears the gradients.
    fn update(&mut self, step: u64, output: StepOutput) -> anyhow::Result<StepOutput> {
        let norm = self.optimizer.gradient_norm()?;
        let value = norm.double_value(&[]);
        if !value.is_finite() {
            let what = format!("the gradient of {}", self.first_non_finite_gradient());
            return Err(TrainError::Diverged {
                step,
                what,
                records: String::new(),
            }
            .into());
        }
        if let Some(max_norm) = self.options.max_grad_norm {
            self.optimizer.clip_gradients(&norm, max_norm)?;
        }
        self.optimizer.step(step)?;
        self.optimizer.zero_grad();
        Ok(StepOutput {
            grad_norm: Some(norm),
            ..output
        })
    }

    fn first_non_finite_task(&self, task_losses: &Tensor) -> String {
        let position = (0..task_losses.numel() as i64)
            .find(|&task| !task_losses.double_value(&[task]).is_finite());
        let name =
            position.and_then(|position| self.ranker.tasks().get(usize::try_from(position).ok()?));
        name.map_or_else(
            || "of no single task".to_owned(),
            |name| format!("of task {name}"),
        )
    }

    fn first_non_finite_gradient(&self) -> String {
        let is_bad = |tensor: &Tensor| {
            let grad = tensor.grad();
            grad.defined() && grad.isfinite().all().int64_value(&[]) == 0
        };
        let bad = self
            .ranker
            .state()
            .parameters()
            .find(|(_, tensor)| is_bad(tensor));
        bad.map_or_else(
            || "no single parameter".to_owned(),
            |(name, _)| name.to_owned(),
        )
    }
}
