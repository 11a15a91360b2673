//! Whether the steps came out finite: asked at once, or without waiting for the device.

use std::collections::VecDeque;

use tch::{Device, Kind, Tensor};
use tracing::info;

use super::TrainError;
use super::pipeline::{DeviceBatch, source_of};
use crate::data::RecordId;
use crate::loss::Losses;
use crate::torch::TorchError;
use crate::torch::transfer::Readback;

/// Steps that may be under way before the host waits for the oldest.
const UNDER_WAY: usize = 8;

/// When the host learns that a loss or gradient was not finite. The parameters never move with one either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checks {
    /// In the step itself, which so waits for the device.
    #[default]
    EachStep,
    /// A few steps later: the device itself leaves out that update and all that follow.
    Deferred,
}

impl Checks {
    /// Deferred on a GPU, unless a bad step may be skipped: then its outcome decides about the next.
    #[must_use]
    pub fn choose(device: Device, may_skip: bool) -> Self {
        if !device.is_cuda() {
            return Self::EachStep;
        }
        if may_skip {
            info!("every step waits for the GPU: training.max_skipped_steps needs its outcome");
            return Self::EachStep;
        }
        Self::Deferred
    }
}

/// Outcomes of steps on their way from the device.
#[derive(Debug)]
pub struct Verdicts {
    /// The model tasks.
    tasks: Vec<String>,
    /// An f32 scalar on the device: 1 from the first step on that was not finite, else 0.
    bad: Option<Tensor>,
    under_way: VecDeque<(u64, Readback)>,
}

impl Verdicts {
    /// Of a model with these tasks.
    #[must_use]
    pub fn new(tasks: &[String]) -> Self {
        Self {
            tasks: tasks.to_vec(),
            bad: None,
            under_way: VecDeque::new(),
        }
    }

    /// Takes in the loss of a step and, where it is to update, the norm of its gradients. Returns the flag that stops
    /// the update: an f32 scalar on the device, 1 from the first step on that was not finite.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn judge(&mut self, loss: &Tensor, norm: Option<&Tensor>) -> Result<Tensor, TorchError> {
        let mut finite = loss.detach().f_isfinite()?;
        if let Some(norm) = norm {
            finite = finite.f_logical_and(&norm.f_isfinite()?)?;
        }
        let now = finite.f_logical_not()?.f_to_kind(Kind::Float)?;
        let bad = match &self.bad {
            Some(before) => before.f_maximum(&now)?,
            None => now,
        };
        self.bad = Some(bad.shallow_clone());
        Ok(bad)
    }

    /// Sends the outcome of `step`, which [`Verdicts::judge`] gave as `bad`, on its way, and looks at those that are
    /// there.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] at an earlier step or this one; when libtorch refuses.
    pub fn send(&mut self, step: u64, bad: &Tensor, losses: &Losses) -> anyhow::Result<()> {
        let parts = [bad, &losses.total, &losses.per_task];
        let flat = parts.map(|part| part.detach().f_to_kind(Kind::Float)?.f_reshape([-1_i64]));
        let [bad, total, per_task] = flat;
        let outcome = Tensor::f_cat(&[bad?, total?, per_task?], 0)?;
        self.under_way.push_back((step, Readback::start(&outcome)?));
        while let Some((_, oldest)) = self.under_way.front()
            && (self.under_way.len() > UNDER_WAY || oldest.is_there()?)
        {
            self.settle_oldest()?;
        }
        Ok(())
    }

    /// Waits for all outcomes.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] at the first step that was not finite; when libtorch refuses.
    pub fn settle(&mut self) -> anyhow::Result<()> {
        while !self.under_way.is_empty() {
            self.settle_oldest()?;
        }
        Ok(())
    }

    fn settle_oldest(&mut self) -> anyhow::Result<()> {
        let Some((step, readback)) = self.under_way.pop_front() else {
            return Ok(());
        };
        let outcome = Vec::<f32>::try_from(readback.wait()?)?;
        let Some(what) = fault(&outcome, &self.tasks) else {
            return Ok(());
        };
        Err(TrainError::diverged(step, what).into())
    }
}

/// What was not finite in an outcome: the flag, the loss, the loss of every task.
fn fault(outcome: &[f32], tasks: &[String]) -> Option<String> {
    let (&bad, losses) = outcome.split_first()?;
    if bad == 0.0 {
        return None;
    }
    let (&total, per_task) = losses.split_first()?;
    let mut of_tasks = tasks.iter().zip(per_task);
    let task = of_tasks.find(|(_, loss)| !loss.is_finite());
    Some(match task {
        Some((task, _)) => format!("the loss of task {task}"),
        None if !total.is_finite() => "the loss".to_owned(),
        None => "a gradient".to_owned(),
    })
}

/// Where the batches came from whose outcome may still be under way.
#[derive(Debug, Default)]
pub struct Recent(VecDeque<(u64, Vec<RecordId>)>);

impl Recent {
    /// Remembers the batch of `step`.
    pub fn push(&mut self, step: u64, batch: &DeviceBatch) {
        if self.0.len() > UNDER_WAY {
            self.0.pop_front();
        }
        self.0.push_back((step, batch.records.clone()));
    }

    /// The records of the batch of `step`, or that of its row `row`, for a message; nothing where it is forgotten.
    #[must_use]
    pub fn source(&self, step: u64, row: Option<usize>) -> String {
        let found = self.0.iter().find(|(known, _)| *known == step);
        found.map_or_else(String::new, |(_, records)| {
            let one = row.and_then(|row| records.get(row..=row));
            source_of(one.unwrap_or(records))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_names_what_was_not_finite() {
        let (nan, tasks) = (f32::NAN, ["a", "b"].map(str::to_owned));
        assert_eq!(fault(&[0.0, 0.5, 0.5, 0.5], &tasks), None);
        let what = |outcome: &[f32]| fault(outcome, &tasks).unwrap();
        assert_eq!(what(&[1.0, nan, 0.5, nan]), "the loss of task b");
        assert_eq!(what(&[1.0, nan, 0.5, 0.5]), "the loss");
        assert_eq!(what(&[1.0, 0.5, 0.5, 0.5]), "a gradient");
    }

    #[test]
    fn only_a_gpu_defers() {
        assert_eq!(Checks::choose(Device::Cpu, false), Checks::EachStep);
        assert_eq!(Checks::choose(Device::Cuda(0), true), Checks::EachStep);
        assert_eq!(Checks::choose(Device::Cuda(0), false), Checks::Deferred);
    }

    #[test]
    fn the_flag_stays_up() {
        let mut verdicts = Verdicts::new(&[]);
        let mut is_up = |loss: f32, norm: Option<f32>| {
            let norm = norm.map(Tensor::from);
            let flag = verdicts.judge(&Tensor::from(loss), norm.as_ref()).unwrap();
            flag.double_value(&[]) > 0.0
        };
        let found = [
            is_up(0.5, Some(1.0)),
            is_up(0.5, None),
            is_up(0.5, Some(f32::INFINITY)),
            is_up(0.5, Some(1.0)),
        ];
        assert_eq!(found, [false, false, true, true]);
        let flag = Verdicts::new(&[])
            .judge(&Tensor::from(f32::NAN), None)
            .unwrap();
        assert!(flag.double_value(&[]) > 0.0);
    }
}
