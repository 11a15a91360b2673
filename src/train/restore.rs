//! From a checkpoint to a stepper, and back.

use std::path::Path;

use anyhow::Context;
use tracing::info;

use super::pending::Pending;
use super::state::TrainState;
use super::step::Stepper;
use super::{Remedy, TrainError};
use crate::checkpoint::{Checkpoint, Snapshot, TorchSnapshot, format::Tensors, newest_valid};
use crate::config::RecapConfig;
use crate::distributed::SingleProcess;
use crate::model::{ModelError, NamedTensors, Ranker};
use crate::optim::OptimError;
use crate::torch::named::TensorSource;

/// Everything that must be saved, `pending_gradients` of an accumulation that has begun among it. The tensors are the ones
/// that train.
///
/// # Errors
/// When the state cannot be written as JSON.
pub fn snapshot(
    stepper: &Stepper,
    state: &TrainState,
    pending_gradients: Tensors,
) -> anyhow::Result<Snapshot> {
    let mut optimizer = shared(stepper.optimizer.state());
    optimizer.extend(pending_gradients);
    Ok(Snapshot {
        global_step: state.global_step(),
        model: shared(stepper.ranker.state()),
        optimizer,
        state: serde_json::to_value(state)?,
        run: None,
    })
}

fn shared(tensors: &NamedTensors) -> Tensors {
    let all = tensors.iter();
    all.map(|(name, entry)| (name.to_owned(), entry.tensor.detach()))
        .collect()
}

/// Restores weights, optimizer and everything else from a checkpoint of the same config; the gradients of an accumulation
/// that has begun are read and not yet put back.
///
/// # Errors
/// When the checkpoint cannot be read or does not fit the config.
pub fn resume(
    stepper: &mut Stepper,
    checkpoint: &Checkpoint,
) -> anyhow::Result<(TrainState, Pending)> {
    let target = Target {
        folder: checkpoint.folder(),
        remedy: Remedy::Resume,
    };
    let state = checkpoint
        .state()
        .context("the checkpoint has no state.json")?;
    let state: TrainState = serde_json::from_value(state.clone())
        .map_err(|error| target.mismatch(format!("its state.json cannot be used: {error}")))?;
    target.load_model(&stepper.ranker, &checkpoint.model()?)?;
    let optimizer = checkpoint
        .optimizer()?
        .context("the checkpoint has no optimizer.safetensors")?;
    target.load_optimizer(stepper, &optimizer)?;
    let pending = Pending::read(stepper, &optimizer)?;
    Ok((state, pending))
}

/// Starts from the weights in `folder`, and from its optimizer state if it has one; the step stays 0.
///
/// The folder is a checkpoint of this program, a lone `model.safetensors`, or a snapshot of the original.
///
/// # Errors
/// When the folder cannot be read or does not fit the config.
pub fn warm_start(stepper: &mut Stepper, folder: &Path) -> anyhow::Result<()> {
    let target = Target {
        folder,
        remedy: Remedy::WarmStart,
    };
    let restored = if TorchSnapshot::is_here(folder) {
        target.warm_start_from_original(stepper)
    } else {
        target.warm_start_from_checkpoint(stepper)
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
    // A folder that cannot be looked at is listed, to say why.
    let newest = match save_dir.try_exists() {
        Ok(false) => None,
        _ => newest_valid(save_dir)?,
    };
    if let Some(checkpoint) = newest {
        let (_, pending) = resume(stepper, &checkpoint)?;
        return pending.put_back(stepper, &SingleProcess);
    }
    match &config.training.initial_checkpoint_dir {
        Some(folder) => warm_start(stepper, Path::new(folder)),
        None => Ok(()),
    }
}

/// Copies the weights of a checkpoint into the model; returns its global step, if the checkpoint knows it.
///
/// The folder is a checkpoint of this program, a lone `model.safetensors`, or a snapshot of the original.
///
/// # Errors
/// When the folder cannot be read, is damaged, or does not fit the config.
pub fn load_weights(ranker: &Ranker, folder: &Path) -> anyhow::Result<Option<u64>> {
    let target = Target {
        folder,
        remedy: Remedy::Weights,
    };
    if TorchSnapshot::is_here(folder) {
        target.load_model(ranker, &TorchSnapshot::open(folder)?.model())?;
        return Ok(None);
    }
    let checkpoint = Checkpoint::open(folder)?;
    checkpoint.verify()?;
    target.load_model(ranker, &checkpoint.model()?)?;
    let state = checkpoint.state().cloned().unwrap_or_default();
    let state = serde_json::from_value::<TrainState>(state);
    Ok(state.ok().map(|state| state.global_step()))
}

/// The checkpoint that is loaded, and what to do when it does not fit.
#[derive(Clone, Copy)]
struct Target<'a> {
    folder: &'a Path,
    remedy: Remedy,
}

impl Target<'_> {
    /// Returns whether there was optimizer state.
    fn warm_start_from_checkpoint(self, stepper: &mut Stepper) -> anyhow::Result<bool> {
        let checkpoint = Checkpoint::open(self.folder)?;
        checkpoint.verify()?;
        self.load_model(&stepper.ranker, &checkpoint.model()?)?;
        let optimizer = checkpoint.optimizer()?;
        if let Some(optimizer) = &optimizer {
            self.load_optimizer(stepper, optimizer)?;
        }
        Ok(optimizer.is_some())
    }

    /// Returns whether there was optimizer state.
    fn warm_start_from_original(self, stepper: &mut Stepper) -> anyhow::Result<bool> {
        let snapshot = TorchSnapshot::open(self.folder)?;
        self.load_model(&stepper.ranker, &snapshot.model())?;
        let optimizer = snapshot.optimizer();
        if !optimizer.is_empty() {
            self.load_optimizer(stepper, &optimizer)?;
        }
        Ok(!optimizer.is_empty())
    }

    fn load_model(self, ranker: &Ranker, source: &impl TensorSource) -> anyhow::Result<()> {
        match ranker.load_state(source) {
            Ok(()) => Ok(()),
            Err(error @ ModelError::State(_)) => Err(self.mismatch(error).into()),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn load_optimizer(
        self,
        stepper: &mut Stepper,
        source: &impl TensorSource,
    ) -> anyhow::Result<()> {
        match stepper.optimizer.load_state(source) {
            Ok(()) => Ok(()),
            Err(error @ OptimError::State { .. }) => Err(self.mismatch(error).into()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The tensors are the right ones; reading or copying one has failed.
    fn failed(self, error: impl Into<anyhow::Error>) -> anyhow::Error {
        let context = format!("cannot restore checkpoint {}", self.folder.display());
        error.into().context(context)
    }

    fn mismatch(self, problem: impl std::fmt::Display) -> TrainError {
        TrainError::Mismatch {
            folder: self.folder.display().to_string(),
            problem: problem.to_string(),
            remedy: self.remedy,
        }
    }
}
