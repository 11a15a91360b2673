//! One training step: forward, loss, backward, update. Both loops call this and nothing else.

use std::time::{Duration, Instant};

use anyhow::Context;
use tch::{Device, Kind, Tensor};

use super::TrainError;
use super::checks::{Checks, Verdicts};
use super::state::step_seed;
use crate::distributed::DataParallel;
use crate::loss::{Losses, MultiTaskLoss};
use crate::model::{Mode, Ranker};
use crate::optim::Optimizer;
use crate::torch::batch::Batch;
use crate::torch::named::TensorSource;
use crate::torch::precision::autocast_bf16;
use crate::torch::profile;
use crate::torch::random::manual_seed;

/// What a step needs beside the batch.
#[derive(Debug)]
pub struct Stepper {
    /// The model that is trained.
    pub ranker: Ranker,
    /// What is minimised.
    pub loss: MultiTaskLoss,
    /// What minimises it.
    pub optimizer: Optimizer,
    /// Averages gradients over ranks; `None` in a process that trains alone.
    pub parallel: Option<DataParallel>,
    /// How.
    pub options: StepOptions,
    /// Outcomes that nobody has looked at yet, under [`Checks::Deferred`].
    pub verdicts: Verdicts,
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
    /// Whether to measure the gradient norm of every optimizer group.
    pub watch_groups: bool,
    /// When a step is known to be finite.
    pub checks: Checks,
    /// Whether to wait for the GPU after every part of a step, so that [`StepTimes`] are its times: to measure only.
    pub time_device: bool,
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
    /// The same by optimizer group, where [`StepOptions::watch_groups`] asks for it.
    pub group_norms: Vec<(String, Tensor)>,
    /// Where the time went.
    pub times: StepTimes,
}

/// How long the parts of a step took; on a GPU, how long it took to ask for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepTimes {
    /// Forward and loss.
    pub forward: Duration,
    /// Backward, with the averaging over ranks.
    pub backward: Duration,
    /// Norm, clipping and update.
    pub update: Duration,
}

/// What the forward pass of a step gave.
#[derive(Debug)]
pub(super) struct Pass {
    /// `[B, T]` in model-task order.
    logits: Tensor,
    /// To go back from.
    losses: Losses,
    /// How long it took.
    took: Duration,
}

impl Pass {
    /// Whether the loss is; waits for the device.
    pub(super) fn is_finite(&self) -> bool {
        self.losses.total.double_value(&[]).is_finite()
    }
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
    /// When the loss or a gradient is not finite (before the parameters change; under [`Checks::Deferred`] perhaps
    /// those of an earlier step), a rank is lost, or libtorch fails.
    pub fn run(&mut self, step: u64, batch: &Batch) -> anyhow::Result<StepOutput> {
        let pass = self.forward_pass(step, batch)?;
        if self.options.checks == Checks::EachStep && !pass.is_finite() {
            return Err(self.diverged(step, batch, &pass).into());
        }
        let backward = self.backward_pass(step, &pass)?;
        self.finish(step, &pass, backward)
    }

    /// Whether the parameters move at `step`.
    pub(super) fn is_last(&self, step: u64) -> bool {
        (step + 1).is_multiple_of(self.options.accumulation)
    }

    pub(super) fn forward_pass(&self, step: u64, batch: &Batch) -> anyhow::Result<Pass> {
        manual_seed(step_seed(self.options.seed, step, self.options.rank))?;
        let begin = Instant::now();
        let (logits, losses) = self
            .forward(batch)
            .with_context(|| format!("the forward pass of step {step} failed"))?;
        self.finish_part();
        Ok(Pass {
            logits,
            losses,
            took: begin.elapsed(),
        })
    }

    /// Returns how long it took.
    pub(super) fn backward_pass(&self, step: u64, pass: &Pass) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        self.backward(&pass.losses.total, self.is_last(step))
            .with_context(|| format!("the backward pass of step {step} failed"))?;
        self.finish_part();
        Ok(begin.elapsed())
    }

    /// The update, where one is due, and what the step gave.
    pub(super) fn finish(
        &mut self,
        step: u64,
        pass: &Pass,
        backward: Duration,
    ) -> anyhow::Result<StepOutput> {
        let begin = Instant::now();
        let is_last = self.is_last(step);
        let watch = is_last && self.options.watch_groups;
        let group_norms = if watch {
            self.optimizer.group_norms()?
        } else {
            Vec::new()
        };
        let losses = &pass.losses;
        let grad_norm = match self.options.checks {
            Checks::EachStep if is_last => Some(self.update_if_finite(step)?),
            Checks::EachStep => None,
            Checks::Deferred => self.update_unless_bad(step, losses, is_last)?,
        };
        self.finish_part();
        Ok(StepOutput {
            loss: losses.total.detach(),
            task_losses: losses.per_task.detach(),
            logits: pass.logits.detach(),
            grad_norm,
            group_norms,
            times: StepTimes {
                forward: pass.took,
                backward,
                update: begin.elapsed(),
            },
        })
    }

    fn finish_part(&self) {
        if let (true, Device::Cuda(index)) = (self.options.time_device, self.device()) {
            tch::Cuda::synchronize(i64::try_from(index).unwrap_or(0));
        }
    }

    fn forward(&self, batch: &Batch) -> anyhow::Result<(Tensor, Losses)> {
        let _range = profile::range("forward");
        let labels = batch
            .labels
            .as_ref()
            .context("the batch has no labels: name them in train_data.tasks")?;
        autocast_bf16(self.options.mixed_precision, self.device(), || {
            let outputs = self.ranker.forward(batch, Mode::Train)?;
            // The loss stays in f32: its logarithms need the mantissa.
            let logits = outputs.logits.f_to_kind(Kind::Float)?;
            let losses = self.loss.forward(&logits, labels, batch.weights.as_ref())?;
            Ok((logits, losses))
        })?
    }

    /// Adds this batch's share to the gradients; at the last batch of an accumulation they are averaged over ranks.
    fn backward(&self, loss: &Tensor, is_last: bool) -> anyhow::Result<()> {
        let _range = profile::range("backward");
        let share = match self.options.accumulation {
            1 => loss.shallow_clone(),
            batches => loss.f_div_scalar(batches.cast_signed())?,
        };
        let Some(parallel) = &self.parallel else {
            return Ok(share.f_backward()?);
        };
        if is_last {
            parallel.prepare_for_backward()?;
            return Ok(parallel.backward(&share)?);
        }
        Ok(parallel.no_sync(|| parallel.backward(&share))?)
    }

    /// Moves the parameters and clears the gradients; returns the norm of the gradients.
    fn update_if_finite(&mut self, step: u64) -> anyhow::Result<Tensor> {
        let _range = profile::range("optimizer");
        let norm = self.optimizer.gradient_norm()?;
        if !norm.double_value(&[]).is_finite() {
            let what = format!("the gradient of {}", self.first_non_finite_gradient());
            return Err(TrainError::diverged(step, what).into());
        }
        self.update(step, &norm)?;
        Ok(norm)
    }

    /// The same for gradients whose `norm` is known to be finite.
    pub(super) fn update(&mut self, step: u64, norm: &Tensor) -> anyhow::Result<()> {
        if let Some(max_norm) = self.options.max_grad_norm {
            self.optimizer.clip_gradients(norm, max_norm)?;
        }
        self.optimizer.step(step)?;
        self.optimizer.zero_grad();
        Ok(())
    }

    /// The same without waiting for the device, which leaves out the update where loss or gradients are not finite.
    fn update_unless_bad(
        &mut self,
        step: u64,
        losses: &Losses,
        is_last: bool,
    ) -> anyhow::Result<Option<Tensor>> {
        let norm = is_last
            .then(|| self.optimizer.gradient_norm())
            .transpose()?;
        let bad = self.verdicts.judge(&losses.total, norm.as_ref())?;
        if let Some(norm) = &norm {
            if let Some(max_norm) = self.options.max_grad_norm {
                self.optimizer.clip_gradients(norm, max_norm)?;
            }
            self.optimizer.step_unless(step, &bad)?;
            self.optimizer.zero_grad();
        }
        self.verdicts.send(step, &bad, losses)?;
        Ok(norm)
    }

    /// Waits for the outcome of all steps so far.
    ///
    /// # Errors
    /// When one of them was not finite, or libtorch fails.
    pub fn settle(&mut self) -> anyhow::Result<()> {
        self.verdicts.settle()
    }

    /// What to say of a loss that is not finite: the task, and the first tensor on the way that is not.
    pub(super) fn diverged(&self, step: u64, batch: &Batch, pass: &Pass) -> TrainError {
        let task = self.first_non_finite_task(&pass.losses.per_task);
        let (first, row) = match batch.first_non_finite(None) {
            Some((name, row)) => (format!("batch {name}"), Some(row)),
            None => (self.first_non_finite(&pass.logits), None),
        };
        TrainError::Diverged {
            step,
            what: format!("the loss {task} (first such tensor: {first})"),
            records: String::new(),
            row,
        }
    }

    /// The first tensor on the way from the batch, which is finite, to the loss that is not.
    fn first_non_finite(&self, logits: &Tensor) -> String {
        let mut state = self.ranker.state().iter();
        if let Some((name, _)) = state.find(|(_, entry)| is_non_finite(&entry.tensor)) {
            return name.to_owned();
        }
        if is_non_finite(logits) {
            "logits"
        } else {
            "loss"
        }
        .to_owned()
    }

    fn first_non_finite_task(&self, task_losses: &Tensor) -> String {
        let losses: Vec<f64> = Vec::try_from(task_losses).unwrap_or_default();
        let mut tasks = self.ranker.tasks().iter().zip(losses);
        let bad = tasks.find(|(_, loss)| !loss.is_finite());
        bad.map_or_else(
            || "of no single task".to_owned(),
            |(task, _)| format!("of task {task}"),
        )
    }

    pub(super) fn first_non_finite_gradient(&self) -> String {
        let is_bad = |tensor: &Tensor| tensor.grad().defined() && is_non_finite(&tensor.grad());
        let mut parameters = self.ranker.state().parameters();
        let bad = parameters.find(|(_, tensor)| is_bad(tensor));
        bad.map_or_else(
            || "no single parameter".to_owned(),
            |(name, _)| name.to_owned(),
        )
    }

    /// Puts back the gradients that `source` has, under `{parameter}/grad`; there must be none yet.
    ///
    /// # Errors
    /// When one cannot be read or has another shape.
    pub fn restore_gradients(&self, source: &impl TensorSource) -> anyhow::Result<()> {
        for (name, parameter) in self.ranker.state().parameters() {
            let saved = format!("{name}/grad");
            if source.shape(&saved).is_none() {
                continue;
            }
            let gradient = source.read(&saved).map_err(anyhow::Error::from_boxed)?;
            // The gradient of sum(parameter * g) is g, to the bit.
            let product = parameter.f_mul(&gradient.f_to_device(parameter.device())?)?;
            product.f_sum(None)?.f_backward()?;
        }
        Ok(())
    }
}

fn is_non_finite(tensor: &Tensor) -> bool {
    tensor.is_floating_point() && tensor.isfinite().all().int64_value(&[]) == 0
}
