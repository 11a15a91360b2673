//! From a checkpoint to a stepper, and back.

use std::path::Path;

use anyhow::Context;
use tch::Device;
use tracing::info;

use super::TrainError;
use super::state::TrainState;
use super::step::Stepper;
use crate::checkpoint::{Checkpoint, Snapshot, TorchSnapshot, format::Tensors, manager};
use crate::config::RecapConfig;
use crate::model::{LoadOptions, NamedTensor, NamedTensors, Ranker};
use crate::torch::named::TensorSource;

/// Everything that must be saved, `pending_gradients` of an accumulation that has begun among it.
///
/// On a GPU the tensors are copied to the host, so that training can go on while they are written. On the CPU they are
/// the ones that train: a copy would need as much memory as model and optimizer once more.
///
/// # Errors
/// When a tensor cannot be copied.
pub fn snapshot(
    stepper: &Stepper,
    state: &TrainState,
    pending_gradients: Tensors,
) -> anyhow::Result<Snapshot> {
    let mut optimizer = on_host(stepper.optimizer.state())?;
    optimizer.extend(pending_gradients);
    Ok(Snapshot {
        global_step: state.global_step(),
        model: on_host(stepper.ranker.state())?,
        optimizer,
        state: serde_json::to_value(state)?,
        is_copy: stepper.device().is_cuda(),
    })
}

fn on_host(tensors: &NamedTensors) -> anyhow::Result<Tensors> {
    let on_host = |(name, entry): (&str, &NamedTensor)| {
        let tensor = entry.tensor.detach().f_to_device(Device::Cpu);
        let tensor = tensor.with_context(|| format!("cannot copy {name} for a checkpoint"))?;
        Ok((name.to_owned(), tensor))
    };
    tensors.iter().map(on_host).collect()
}

/// Restores weights, optimizer and everything else from a checkpoint of the same config.
///
/// # Errors
/// When the checkpoint cannot be read or does not fit the config.
pub fn resume(stepper: &mut Stepper, checkpoint: &Checkpoint) -> anyhow::Result<TrainState> {
    let folder = checkpoint.folder();
    let state = checkpoint
        .state()
        .context("the checkpoint has no state.json")?;
    let state: TrainState = serde_json::from_value(state.clone())
        .map_err(|error| mismatch(folder, format!("its state.json cannot be used: {error}")))?;
    load_model(&stepper.ranker, &checkpoint.model()?, folder)?;
    let optimizer = checkpoint
        .optimizer()?
        .context("the checkpoint has no optimizer.safetensors")?;
    load_optimizer(stepper, &optimizer, folder)?;
    stepper.restore_gradients(&optimizer)?;
    Ok(state)
}

/// Starts from the weights in `folder`, and from its optimizer state if it has one; the step stays 0.
///
/// The folder is a checkpoint of this program, a lone `model.safetensors`, or a snapshot of the original.
///
/// # Errors
/// When the folder cannot be read or does not fit the config.
pub fn warm_start(stepper: &mut Stepper, folder: &Path) -> anyhow::Result<()> {
    let restored = if TorchSnapshot::is_here(folder) {
        warm_start_from_original(stepper, folder)
    } else {
        warm_start_from_checkpoint(stepper, folder)
    };
    let optimizer_state =
        restored.context("cannot warm-start from training.initial_checkpoint_dir")?;
    info!(
        folder = %folder.display(),
        optimizer_state,
        "warm start: weights restored, training begins at step 0"
    );
    Ok(())
}

/// Restores what a training with `config` would begin with, if there is anything: the newest checkpoint of its folder,
/// else the warm start.
///
/// # Errors
/// Those of the training.
pub fn begin(stepper: &mut Stepper, config: &RecapConfig) -> anyhow::Result<()> {
    let save_dir = Path::new(&config.training.save_dir);
    let newest = match save_dir.exists() {
        true => manager::newest_valid(save_dir)?,
        false => None,
    };
    if let Some(checkpoint) = newest {
        return resume(stepper, &checkpoint).map(drop);
    }
    match &config.training.initial_checkpoint_dir {
        Some(folder) => warm_start(stepper, Path::new(folder)),
        None => Ok(()),
    }
}

/// Returns whether there was optimizer state.
fn warm_start_from_checkpoint(stepper: &mut Stepper, folder: &Path) -> anyhow::Result<bool> {
    let checkpoint = Checkpoint::open(folder)?;
    checkpoint.verify()?;
    load_model(&stepper.ranker, &checkpoint.model()?, folder)?;
    let optimizer = checkpoint.optimizer()?;
    if let Some(optimizer) = &optimizer {
        load_optimizer(stepper, optimizer, folder)?;
    }
    Ok(optimizer.is_some())
}

fn warm_start_from_original(stepper: &mut Stepper, folder: &Path) -> anyhow::Result<bool> {
    let snapshot = TorchSnapshot::open(folder)?;
    load_model(&stepper.ranker, &snapshot.model()?, folder)?;
    let optimizer = snapshot.optimizer()?;
    if !optimizer.is_empty() {
        load_optimizer(stepper, &optimizer, folder)?;
    }
    Ok(!optimizer.is_empty())
}

/// Copies the weights of a checkpoint into the model; returns its global step, if the checkpoint knows it.
///
/// The folder is a checkpoint of this program, a lone `model.safetensors`, or a snapshot of the original.
///
/// # Errors
/// When the folder cannot be read, is damaged, or does not fit the config.
pub fn load_weights(ranker: &Ranker, folder: &Path) -> anyhow::Result<Option<u64>> {
    if TorchSnapshot::is_here(folder) {
        load_model(ranker, &TorchSnapshot::open(folder)?.model()?, folder)?;
        return Ok(None);
    }
    let checkpoint = Checkpoint::open(folder)?;
    checkpoint.verify()?;
    load_model(ranker, &checkpoint.model()?, folder)?;
    let state = checkpoint.state().cloned().unwrap_or_default();
    let state = serde_json::from_value::<TrainState>(state);
    Ok(state.ok().map(|state| state.global_step()))
}

fn load_model(ranker: &Ranker, source: &impl TensorSource, folder: &Path) -> anyhow::Result<()> {
    ranker
        .load_state(source, &LoadOptions::default())
        .map_err(|error| mismatch(folder, error))?;
    Ok(())
}

fn load_optimizer(
    stepper: &mut Stepper,
    source: &impl TensorSource,
    folder: &Path,
) -> anyhow::Result<()> {
    stepper
        .optimizer
        .load_state(source)
        .map_err(|error| mismatch(folder, error))?;
    Ok(())
}

fn mismatch(folder: &Path, problem: impl std::fmt::Display) -> TrainError {
    TrainError::Mismatch {
        folder: folder.display().to_string(),
        problem: problem.to_string(),
    }
}
