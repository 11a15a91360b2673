//! One training step, and a checkpoint saved, loaded into a fresh model and compared, in a temporary folder.

use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};
use serde::Serialize;
use tch::{Device, Tensor};
use tracing::info;

use super::table::bytes;
use crate::checkpoint::{Checkpoint, publish};
use crate::config::{RecapConfig, TrainingConfig};
use crate::data::Position;
use crate::model::NamedTensors;
use crate::train::pipeline::next_on_device;
use crate::train::restore;
use crate::train::setup::{Place, build_loader, build_stepper};
use crate::train::state::TrainState;
use crate::train::step::{StepOutput, Stepper};
use crate::train::{TrainError, in_trial};

/// What one step and one checkpoint showed.
#[derive(Debug, Serialize)]
pub(super) struct DryRun {
    loss: f64,
    task_losses: Vec<(String, f64)>,
    grad_norm: Option<f64>,
    /// Of the first step, which is the slowest: memory is taken, kernels are chosen.
    step_seconds: f64,
    checkpoint_bytes: u64,
    tensors_compared: usize,
}

/// Batches of the one update at most: an accumulation of many shows no more than one of a few, and takes hours.
const MAX_BATCHES: u64 = 8;

/// Trains one step with `stepper` and carries its state through a checkpoint.
///
/// # Errors
/// When the step diverges, the disk fails, or what is loaded differs from what was saved.
pub(super) fn run(
    config: &RecapConfig,
    stepper: &mut Stepper,
    device: Device,
) -> anyhow::Result<DryRun> {
    let begun = Instant::now();
    let accumulation = &mut stepper.options.accumulation;
    if *accumulation > MAX_BATCHES {
        info!(
            asked = *accumulation,
            tried = MAX_BATCHES,
            "dry run: the accumulation is tried with fewer batches"
        );
        *accumulation = MAX_BATCHES;
    }
    let (output, position, batches) = step(config, stepper, device)?;
    let loss = output.loss.double_value(&[]);
    let grad_norm = output.grad_norm.map(|norm| norm.double_value(&[]));
    let step_seconds = begun.elapsed().as_secs_f64();
    let state = TrainState {
        step: batches,
        walltime_secs: step_seconds,
        positions: vec![position],
        ..TrainState::first(&config.training, Place::ALONE)
    };
    let (checkpoint_bytes, tensors_compared) =
        round_trip(config, stepper, device, &state).context("the checkpoint round trip failed")?;
    let losses: Vec<f64> = Vec::try_from(&output.task_losses).unwrap_or_default();
    Ok(DryRun {
        loss,
        task_losses: stepper.ranker.tasks().iter().cloned().zip(losses).collect(),
        grad_norm,
        step_seconds,
        checkpoint_bytes,
        tensors_compared,
    })
}

/// As many batches as one update takes; returns the last output, the position after it and the number of batches.
fn step(
    config: &RecapConfig,
    stepper: &mut Stepper,
    device: Device,
) -> anyhow::Result<(StepOutput, Position, u64)> {
    let seed = config.training.seed;
    let mut loader = build_loader(&config.train_data, seed, Place::ALONE, None)?;
    let batches = stepper.options.accumulation;
    let mut last = None;
    for step in 0..batches {
        let next = next_on_device(&mut loader, device)?.ok_or(TrainError::DataEnded {
            step,
            num_train_steps: batches,
        })?;
        let output = stepper.run(step, &next.batch);
        let output = output.map_err(|error| in_trial(error, next.source()))?;
        last = Some((output, next.position));
    }
    let (output, position) = last.context("no batch was trained")?;
    Ok((output, position, batches))
}

/// Saves `stepper`, loads it into one that was drawn from another seed, and compares every tensor bit by bit.
fn round_trip(
    config: &RecapConfig,
    stepper: &Stepper,
    device: Device,
    state: &TrainState,
) -> anyhow::Result<(u64, usize)> {
    let folder = tempfile::Builder::new()
        .prefix("recap-train-check-")
        .tempdir();
    let folder = folder.context("cannot create a temporary folder")?;
    let snapshot = restore::snapshot(stepper, state, Vec::new())?;
    let staged = publish::stage(folder.path(), &state.global_step().to_string(), &snapshot)?;
    let published = staged.publish()?;
    let checkpoint = Checkpoint::open(&published)?;
    checkpoint.verify()?;
    let other = RecapConfig {
        training: TrainingConfig {
            seed: config.training.seed.wrapping_add(1),
            ..config.training.clone()
        },
        ..config.clone()
    };
    let mut loaded = build_stepper(&other, device, Place::ALONE)?;
    let (restored, _) = restore::resume(&mut loaded, &checkpoint)?;
    if (restored.step, &restored.positions) != (state.step, &state.positions) {
        bail!("the position in the data is not the one that was saved");
    }
    let compared = compare(stepper.ranker.state(), loaded.ranker.state())?
        + compare(stepper.optimizer.state(), loaded.optimizer.state())?;
    Ok((folder_size(&published)?, compared))
}

fn compare(saved: &NamedTensors, loaded: &NamedTensors) -> anyhow::Result<usize> {
    let is_same =
        |a: &Tensor, b: &Tensor| a.kind() == b.kind() && a.size() == b.size() && a.equal(b);
    for (name, entry) in saved.iter() {
        let other = loaded.get(name);
        if !other.is_some_and(|other| is_same(&entry.tensor, &other.tensor)) {
            bail!("{name} is not what was saved");
        }
    }
    Ok(saved.len())
}

fn folder_size(folder: &Path) -> io::Result<u64> {
    std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.metadata()?.len()))
        .sum()
}

impl DryRun {
    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let norm = self.grad_norm.unwrap_or_default();
        writeln!(
            out,
            "dry run  loss {:.6}, gradient norm {norm:.6}, {:.2} s for the first step",
            self.loss, self.step_seconds
        )?;
        for (task, loss) in &self.task_losses {
            writeln!(out, "         {task}: loss {loss:.6}")?;
        }
        writeln!(
            out,
            "         checkpoint of {}: {} tensors saved, loaded and equal",
            bytes(self.checkpoint_bytes),
            self.tensors_compared
        )
    }
}
