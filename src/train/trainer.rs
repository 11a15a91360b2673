//! The training loop: resume, step, log, save, end.

use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use tch::Device;
use tracing::info;

use super::interrupt::Interrupt;
use super::pipeline::{DeviceBatch, Pipeline};
use super::progress::{Progress, Throughput, log_details};
use super::setup::{Place, build_loader, build_stepper};
use super::state::TrainState;
use super::step::{StepOutput, Stepper};
use super::validation::Validation;
use super::{TrainError, restore};
use crate::checkpoint::Manager;
use crate::config::{RecapConfig, TrainingConfig};

/// One run of the training loop.
#[derive(Debug)]
pub struct Trainer<'a> {
    config: &'a TrainingConfig,
    throughput: Throughput,
    stepper: Stepper,
    checkpoints: Manager,
    state: TrainState,
    /// Global step of the newest checkpoint, if there is one.
    saved: Option<u64>,
    last_save: Instant,
    interrupt: Interrupt,
    /// Evaluations between steps, where they are asked for.
    validation: Option<Validation>,
    /// When the clock of `state.walltime_secs` was last advanced.
    clock: Instant,
}

/// Trains as `config` says. Returns once `num_train_steps` batches are trained and saved.
///
/// # Errors
/// When anything fails; a signal ends the run as [`TrainError::Interrupted`] after saving.
pub fn run(
    config: &RecapConfig,
    device: Device,
    place: Place,
    interrupt: Interrupt,
) -> anyhow::Result<()> {
    let training = &config.training;
    let keep = training
        .checkpoint_max_to_keep
        .map(crate::config::PositiveInt::get);
    let checkpoints = Manager::open(Path::new(&training.save_dir), keep)?;
    crate::logging::open_events(checkpoints.save_dir())
        .context("cannot write events.jsonl in training.save_dir")?;
    let newest = checkpoints.newest_valid()?;
    let saved = newest
        .as_ref()
        .map(|checkpoint| checkpoint.state().cloned().unwrap_or_default());
    let saved_step = saved.as_ref().and_then(|state| state["step"].as_u64());
    if saved_step.is_some_and(|step| step >= training.num_train_steps.get()) {
        info!(
            "training is finished: the newest checkpoint in {} is at step {}, training.num_train_steps is {}",
            training.save_dir,
            saved_step.unwrap_or_default(),
            training.num_train_steps.get()
        );
        return Ok(());
    }
    let mut stepper = build_stepper(config, device, place)?;
    let validation = Validation::build(config, checkpoints.save_dir(), device)?;
    let state = match &newest {
        Some(checkpoint) => {
            info!(checkpoint = %checkpoint.folder().display(), "resuming");
            restore::resume(&mut stepper, checkpoint)?
        }
        None => first_state(training, place, &mut stepper)?,
    };
    let position = state.positions.get(place.rank).cloned();
    let loader = build_loader(&config.train_data, training.seed, place, position.as_ref())?;
    let throughput = Throughput {
        global_batch_size: config.train_data.global_batch_size.get(),
        world_size: place.world_size as u64,
    };
    let saved = newest.is_some().then(|| state.global_step());
    let now = Instant::now();
    let trainer = Trainer {
        config: training,
        throughput,
        stepper,
        checkpoints,
        state,
        saved,
        last_save: now,
        interrupt,
        validation,
        clock: now,
    };
    trainer.train(Pipeline::start(loader, device)?)
}

/// The state of a run that has no checkpoint: weights from `initial_checkpoint_dir` if it is set.
fn first_state(
    training: &TrainingConfig,
    place: Place,
    stepper: &mut Stepper,
) -> anyhow::Result<TrainState> {
    if let Some(folder) = &training.initial_checkpoint_dir {
        restore::warm_start(stepper, Path::new(folder))?;
    }
    Ok(TrainState {
        step: 0,
        walltime_secs: 0.0,
        seed: training.seed,
        world_size: place.world_size as u64,
        positions: Vec::new(),
        version: crate::cli::VERSION.to_owned(),
    })
}

impl Trainer<'_> {
    fn train(mut self, mut pipeline: Pipeline) -> anyhow::Result<()> {
        let num_train_steps = self.config.num_train_steps.get();
        let mut progress = Progress::start(self.state.step);
        while self.state.step < num_train_steps {
            if self.interrupt.is_requested() {
                return self.save_and_stop();
            }
            let Some(next) = pipeline.next(&self.interrupt)? else {
                if self.interrupt.is_requested() {
                    continue;
                }
                return Err(TrainError::DataEnded {
                    step: self.state.step,
                    num_train_steps,
                }
                .into());
            };
            let output = self.step(next)?;
            self.advance_clock();
            if self
                .state
                .step
                .is_multiple_of(self.config.train_log_every_n.get())
            {
                let loss = output.loss.double_value(&[]);
                progress.log(
                    self.state.step,
                    loss,
                    self.throughput,
                    pipeline.waited(),
                    self.state.walltime_secs,
                );
                log_details(self.config, self.state.step, &self.stepper, &output);
            }
            self.evaluate_if_due(&mut progress)?;
            if self.is_save_due() {
                self.save()?;
            }
        }
        if self.saved != Some(self.state.global_step()) {
            self.save()?;
        }
        self.checkpoints.wait()?;
        info!(
            step = self.state.step,
            global_step = self.state.global_step(),
            "finished training"
        );
        Ok(())
    }

    /// Trains on one batch and moves the position behind it.
    fn step(&mut self, next: DeviceBatch) -> anyhow::Result<StepOutput> {
        let output = self.stepper.run(self.state.step, &next.batch);
        let output = output.map_err(|error| with_records(error, &next.source()))?;
        self.state.step += 1;
        self.state.positions = vec![next.position];
        Ok(output)
    }

    fn advance_clock(&mut self) {
        let now = Instant::now();
        self.state.walltime_secs += (now - self.clock).as_secs_f64();
        self.clock = now;
    }

    /// Evaluates where it is asked for, off the clock, and saves the state beside the other checkpoints if it is the
    /// best so far.
    fn evaluate_if_due(&mut self, progress: &mut Progress) -> anyhow::Result<()> {
        let Some(validation) = &mut self.validation else {
            return Ok(());
        };
        if !validation.is_due(self.state.step) {
            return Ok(());
        }
        let ranker = &self.stepper.ranker;
        let global_step = self.state.global_step();
        let score = validation.run(ranker, global_step, &self.interrupt)?;
        if let Some(score) = score {
            let mut snapshot = restore::snapshot(&self.stepper, &self.state)?;
            score.write(&mut snapshot.state);
            self.checkpoints.save_best(snapshot)?;
        }
        progress.exclude(self.clock.elapsed());
        self.clock = Instant::now();
        Ok(())
    }

    fn is_save_due(&self) -> bool {
        // Gradients of a started accumulation are not saved, so a checkpoint waits for its end.
        let between_updates = self
            .state
            .step
            .is_multiple_of(self.stepper.options.accumulation);
        let by_steps = self
            .state
            .step
            .is_multiple_of(self.config.checkpoint_every_n.get());
        let due_after = self
            .config
            .checkpoint_every_secs
            .map(crate::config::PositiveFloat::get);
        let by_time =
            due_after.is_some_and(|seconds| self.last_save.elapsed().as_secs_f64() >= seconds);
        between_updates && (by_steps || by_time)
    }

    fn save(&mut self) -> anyhow::Result<()> {
        let snapshot = restore::snapshot(&self.stepper, &self.state)?;
        self.saved = Some(snapshot.global_step);
        self.last_save = Instant::now();
        Ok(self.checkpoints.save(snapshot)?)
    }

    fn save_and_stop(mut self) -> anyhow::Result<()> {
        info!("a signal asked this run to end: saving");
        if self.saved != Some(self.state.global_step()) {
            self.save()?;
        }
        self.checkpoints.wait()?;
        let folder = self
            .checkpoints
            .save_dir()
            .join(self.state.global_step().to_string());
        Err(TrainError::Interrupted {
            step: self.state.step,
            folder: folder.display().to_string(),
        }
        .into())
    }
}

/// Adds to a divergence which records it happened on.
fn with_records(error: anyhow::Error, source: &str) -> anyhow::Error {
    match error.downcast::<TrainError>() {
        Ok(TrainError::Diverged { step, what, .. }) => TrainError::Diverged {
            step,
            what,
            records: source.to_owned(),
        }
        .into(),
        Ok(other) => other.into(),
        Err(error) => error,
    }
}
