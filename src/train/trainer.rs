//! The training loop: step, log, save, end.

use std::time::Instant;

use tracing::{info, warn};

use super::TrainError;
use super::checkpoints::Checkpoints;
use super::checks::{Checks, Recent};
use super::pipeline::{DeviceBatch, Pipeline};
use super::progress::{Progress, log_details};
use super::session::Session;
use super::setup::{build_loader, build_stepper};
use super::state::TrainState;
use super::statistics::Statistics;
use super::step::{StepOutput, Stepper};
use super::validation::Validation;
use crate::config::TrainingConfig;

/// One run of the training loop.
#[derive(Debug)]
pub struct Trainer<'a> {
    session: &'a Session,
    stepper: Stepper,
    checkpoints: Checkpoints,
    state: TrainState,
    /// Evaluations between steps, where they are asked for.
    validation: Option<Validation>,
    /// Batches whose outcome may not be known yet.
    recent: Recent,
    /// When the clock of `state.walltime_secs` was last advanced.
    clock: Instant,
}

/// Trains as the config says. Returns once `num_train_steps` batches are trained and saved.
///
/// # Errors
/// When anything fails; a signal ends the run as [`TrainError::Interrupted`] after saving.
pub fn run(session: &Session) -> anyhow::Result<()> {
    let mut checkpoints = Checkpoints::open(session)?;
    if checkpoints.is_finished(session)? {
        return Ok(session.collective.leave()?);
    }
    let mut stepper = build_stepper(&session.config, session.device, session.place)?;
    let validation = Validation::build(session)?;
    let may_skip = session.config.training.max_skipped_steps > 0;
    stepper.options.checks = Checks::choose(session.device, may_skip);
    let state = checkpoints.restore(session, &mut stepper)?;
    session.join(&mut stepper, &state)?;
    let training = &session.config.training;
    let position = state.position(session.place);
    let loader = build_loader(
        &session.config.train_data,
        training.seed,
        session.place,
        position,
    )?;
    let pipeline = Pipeline::start(loader, session.device)?;
    let trainer = Trainer {
        session,
        stepper,
        checkpoints,
        state,
        validation,
        recent: Recent::default(),
        clock: Instant::now(),
    };
    trainer.train(pipeline)?;
    Ok(session.collective.leave()?)
}

impl Trainer<'_> {
    fn train(mut self, mut pipeline: Pipeline) -> anyhow::Result<()> {
        let num_train_steps = self.training().num_train_steps.get();
        let mut progress = Progress::start(self.state.step);
        while self.state.step < num_train_steps {
            if self.session.is_interrupted()? {
                return self.save_and_stop();
            }
            let Some(next) = self.next(&mut pipeline)? else {
                continue;
            };
            let output = self.step(&next)?;
            self.advance_clock();
            self.checkpoints.check()?;
            if let Some(output) =
                output.filter(|_| self.is_due(self.training().train_log_every_n.get()))
            {
                self.log(&mut progress, &pipeline, &output)?;
            }
            if self.is_due(self.training().eval_log_every_n.get()) {
                self.evaluate(&mut progress)?;
            }
            if self.is_due(self.training().checkpoint_every_n.get())
                || self.is_save_due_by_time()?
            {
                self.save()?;
            }
        }
        self.save_unless_saved()?;
        self.checkpoints.wait()?;
        info!(
            step = self.state.step,
            global_step = self.state.global_step(),
            "finished training"
        );
        Ok(())
    }

    fn training(&self) -> &TrainingConfig {
        &self.session.config.training
    }

    /// Whether something that happens every `n` steps happens now.
    fn is_due(&self, n: u64) -> bool {
        self.state.step.is_multiple_of(n)
    }

    /// The next batch; `None` when a signal came while there was none yet.
    fn next(&self, pipeline: &mut Pipeline) -> anyhow::Result<Option<DeviceBatch>> {
        // Ranks that train together stop together, so none of them leaves a wait on its own.
        let interrupt = Some(&self.session.interrupt).filter(|_| !self.session.is_distributed());
        let next = pipeline.next(interrupt)?;
        if next.is_none() && !interrupt.is_some_and(super::interrupt::Interrupt::is_requested) {
            let num_train_steps = self.training().num_train_steps.get();
            return Err(TrainError::DataEnded {
                step: self.state.step,
                num_train_steps,
            }
            .into());
        }
        Ok(next)
    }

    /// Trains on one batch and moves the position behind it; `None` when the batch was skipped because it diverged.
    fn step(&mut self, next: &DeviceBatch) -> anyhow::Result<Option<StepOutput>> {
        let may_skip = self.state.skipped_steps < self.training().max_skipped_steps.cast_unsigned();
        let statistics = if may_skip {
            Some(Statistics::of(&self.stepper)?)
        } else {
            None
        };
        self.recent.push(self.state.step, next);
        let output = match self.stepper.run(self.state.step, &next.batch) {
            Ok(output) => Some(output),
            Err(error) => {
                let error = with_records(error, &self.recent);
                let diverged = matches!(error.downcast_ref(), Some(TrainError::Diverged { .. }));
                let Some(statistics) = statistics.filter(|_| diverged) else {
                    return Err(error);
                };
                warn!("skipped: {error}");
                statistics.put_back(&self.stepper)?;
                self.stepper.optimizer.zero_grad();
                self.state.skipped_steps += 1;
                None
            }
        };
        self.state.step += 1;
        self.state.positions = vec![next.position.clone()];
        Ok(output)
    }

    /// Waits for the outcome of the steps so far: nothing is told or kept of a training that has diverged.
    fn settle(&mut self) -> anyhow::Result<()> {
        let settled = self.stepper.settle();
        settled.map_err(|error| with_records(error, &self.recent))
    }

    fn log(
        &mut self,
        progress: &mut Progress,
        pipeline: &Pipeline,
        output: &StepOutput,
    ) -> anyhow::Result<()> {
        self.settle()?;
        let loss = self.session.mean(&output.loss)?;
        let global_batch_size = self.session.config.train_data.global_batch_size.get();
        progress.log(&self.state, loss, global_batch_size, pipeline.waited());
        log_details(self.training(), &self.state, &self.stepper, output);
        Ok(())
    }

    /// Evaluates where it is asked for, off the clock, and saves the state beside the other checkpoints if it is the
    /// best so far.
    fn evaluate(&mut self, progress: &mut Progress) -> anyhow::Result<()> {
        self.settle()?;
        let Some(validation) = &mut self.validation else {
            return Ok(());
        };
        let (stepper, state) = (&self.stepper, &self.state);
        let score = validation.run(self.session, stepper, state.global_step())?;
        if let Some(score) = score {
            self.checkpoints
                .save_best(self.session, stepper, state, &score)?;
        }
        progress.exclude(self.clock.elapsed());
        self.clock = Instant::now();
        Ok(())
    }

    fn advance_clock(&mut self) {
        let now = Instant::now();
        self.state.walltime_secs += (now - self.clock).as_secs_f64();
        self.clock = now;
    }

    /// Rank 0's clock decides for all.
    fn is_save_due_by_time(&self) -> anyhow::Result<bool> {
        let Some(seconds) = self.training().checkpoint_every_secs else {
            return Ok(false);
        };
        let due = self.checkpoints.since_last_save().as_secs_f64() >= seconds.get();
        let answers = self.session.collective.all_gather_bytes(&[u8::from(due)])?;
        Ok(answers.first().is_some_and(|answer| answer == &[1]))
    }

    fn save(&mut self) -> anyhow::Result<()> {
        self.settle()?;
        self.checkpoints
            .save(self.session, &self.stepper, &self.state)
    }

    fn save_unless_saved(&mut self) -> anyhow::Result<()> {
        if self.checkpoints.newest() == Some(self.state.global_step()) {
            return Ok(());
        }
        self.save()
    }

    fn save_and_stop(mut self) -> anyhow::Result<()> {
        info!("a signal asked this run to end: saving");
        self.save_unless_saved()?;
        self.checkpoints.wait()?;
        self.session.collective.leave()?;
        let save_dir = std::path::Path::new(&self.training().save_dir);
        let folder = save_dir
            .join(self.state.global_step().to_string())
            .display()
            .to_string();
        Err(TrainError::Interrupted {
            step: self.state.step,
            folder,
        }
        .into())
    }
}

/// Adds to a divergence which records it happened on.
fn with_records(error: anyhow::Error, recent: &Recent) -> anyhow::Error {
    match error.downcast::<TrainError>() {
        Ok(TrainError::Diverged { step, what, .. }) => TrainError::Diverged {
            step,
            what,
            records: recent.source(step),
        }
        .into(),
        Ok(other) => other.into(),
        Err(error) => error,
    }
}
