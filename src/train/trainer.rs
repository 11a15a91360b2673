//! The training loop: step, log, save, end.

use std::time::Instant;

use tracing::{info, warn};

use super::TrainError;
use super::checkpoints::{Checkpoints, Kind};
use super::checks::{Checks, Recent};
use super::pipeline::{DeviceBatch, Pipeline};
use super::profiler::Profiler;
use super::progress::{Progress, log_details};
use super::session::Session;
use super::setup::{build_loader, build_stepper};
use super::skip::Attempt;
use super::state::TrainState;
use super::step::{StepOutput, Stepper};
use super::tensorboard::{Board, Losses};
use super::times::RunTimes;
use super::validation::{Score, Validation};
use super::window::Window;
use crate::cli::StepRange;
use crate::config::TrainingConfig;
use crate::torch::profile;

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
    /// The last batches, where metrics over them are asked for.
    window: Option<Window>,
    /// When the clock of `state.walltime_secs` was last advanced.
    clock: Instant,
    /// Curves, on rank 0.
    board: Option<Board>,
    profiler: Profiler,
    times: RunTimes,
}

/// Trains as the config says. Returns once `num_train_steps` batches are trained and saved. The steps of
/// `profile_steps` are recorded as a Chrome trace.
///
/// # Errors
/// When anything fails; a signal ends the run as [`TrainError::Interrupted`] after saving.
pub fn run(session: &Session, profile_steps: Option<StepRange>) -> anyhow::Result<()> {
    let times = RunTimes::begin();
    let mut checkpoints = Checkpoints::open(session)?;
    if checkpoints.is_finished(session)? {
        return Ok(session.collective.leave()?);
    }
    let mut stepper = build_stepper(&session.config, session.device, session.place)?;
    let mut validation = Validation::build(session)?;
    let may_skip = session.config.training.max_skipped_steps > 0;
    stepper.options.checks = Checks::choose(session.device, may_skip);
    let (state, pending) = checkpoints.restore(session, &mut stepper)?;
    session.join(&mut stepper, &state, pending)?;
    checkpoints.prepare(session, &stepper, &state)?;
    if let Some(validation) = &mut validation {
        validation.resume(&state);
    }
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
        board: Board::open(session, &state),
        profiler: Profiler::new(session, profile_steps),
        times,
        session,
        stepper,
        checkpoints,
        state,
        validation,
        recent: Recent::default(),
        window: Window::build(&session.config),
        clock: Instant::now(),
    };
    trainer.train(pipeline)?;
    Ok(session.collective.leave()?)
}

impl Trainer<'_> {
    fn train(mut self, mut pipeline: Pipeline) -> anyhow::Result<()> {
        let num_train_steps = self.training().num_train_steps.get();
        let rows = self.session.config.train_data.global_batch_size.get();
        let mut progress = Progress::start(self.state.step, num_train_steps, rows);
        self.times.started();
        self.catch_up(&mut progress)?;
        while self.state.step < num_train_steps
            && !self.state.is_stopped(self.training())
            && !self.state.evaluation_due
        {
            self.profiler.before_step(self.state.step)?;
            // The ranks agree once they have their batches: a rank that waits for one in vain can leave its wait.
            let next = self.next(&mut pipeline)?;
            let is_interrupted = self.session.is_interrupted()?;
            // Not before all ranks are here: one that waits for its first batch ends by itself, and the others with it.
            self.session.interrupt.has_work(true);
            if is_interrupted {
                break;
            }
            let Some(next) = next else { break };
            let output = self.step(&next)?;
            self.advance_clock();
            self.profiler.after_step(self.state.step)?;
            self.checkpoints.check()?;
            progress.tick(&self.state, pipeline.waited());
            if let Some(output) =
                output.filter(|_| self.is_due(self.training().train_log_every_n.get()))
            {
                self.log(&mut progress, &pipeline, &output)?;
            }
            if self.is_histogram_due()
                && let Some(board) = &mut self.board
            {
                board.log_weights(self.state.global_step(), &self.stepper)?;
            }
            let best = if self.is_due(self.training().eval_log_every_n.get()) {
                self.evaluate(&mut progress)?
            } else {
                None
            };
            let is_due = self.is_due(self.training().checkpoint_every_n.get())
                || self.is_save_due_by_time()?;
            match (&best, is_due) {
                (None, false) => {}
                (None, true) => self.save(Kind::Kept)?,
                (Some(score), false) => self.save(Kind::Best(score))?,
                (Some(score), true) => self.save(Kind::KeptAndBest(score))?,
            }
        }
        let is_ended = self.state.step >= num_train_steps || self.state.is_stopped(self.training());
        if !is_ended || self.state.evaluation_due {
            return self.save_and_stop(progress, &pipeline);
        }
        progress.say("saving");
        self.save_for_good()?;
        drop(progress);
        self.profiler.finish()?;
        self.say_finished();
        self.times.log(&pipeline.beside(), self.session.device);
        Ok(())
    }

    fn say_finished(&self) {
        let stopped_early = self.state.is_stopped(self.training());
        info!(
            name: "finished",
            step = self.state.step,
            global_step = self.state.global_step(),
            stopped_early,
            "finished training"
        );
        if stopped_early && let Some(patience) = &self.state.patience {
            let (waited, best) = (patience.waited, patience.best.as_ref());
            let best = best.map_or("no number at all".to_owned(), |best| best.value.to_string());
            info!(
                "stopped early: {waited} evaluations in a row were no better than {best}; the best model is in save_dir/best"
            );
        }
    }

    fn training(&self) -> &TrainingConfig {
        &self.session.config.training
    }

    /// Whether something that happens every `n` steps happens now.
    fn is_due(&self, n: u64) -> bool {
        self.state.step.is_multiple_of(n)
    }

    fn is_histogram_due(&self) -> bool {
        let every = self.training().histogram_every_n;
        every.is_some_and(|n| self.is_due(n.get()))
    }

    /// The next batch; `None` when a signal came while there was none yet.
    fn next(&self, pipeline: &mut Pipeline) -> anyhow::Result<Option<DeviceBatch>> {
        let _range = profile::range("data wait");
        let interrupt = &self.session.interrupt;
        let next = pipeline.next(Some(interrupt))?;
        if next.is_none() && !interrupt.is_requested() {
            let num_train_steps = self.training().num_train_steps.get();
            return Err(TrainError::DataEnded {
                step: self.state.step,
                num_train_steps,
            }
            .into());
        }
        Ok(next)
    }

    /// Makes up for an evaluation that a signal cut short, and notes that it is done.
    fn catch_up(&mut self, progress: &mut Progress) -> anyhow::Result<()> {
        if !std::mem::take(&mut self.state.evaluation_due) {
            return Ok(());
        }
        let best = self.evaluate(progress)?;
        self.session.interrupt.has_work(true);
        match (&best, self.state.evaluation_due) {
            (_, true) => Ok(()),
            (None, false) => self.save(Kind::Kept),
            (Some(score), false) => self.save(Kind::KeptAndBest(score)),
        }
    }

    /// Trains on one batch and moves the position behind it; `None` when the batch was skipped because it diverged.
    fn step(&mut self, next: &DeviceBatch) -> anyhow::Result<Option<StepOutput>> {
        self.recent.push(self.state.step, next);
        // Also where no more may be skipped: the ranks then end together, with the same words.
        let output = if self.training().max_skipped_steps > 0 {
            self.step_or_skip(next)?
        } else {
            let output = self.stepper.run(self.state.step, &next.batch);
            Some(output.map_err(|error| with_records(error, &self.recent))?)
        };
        if let Some(output) = &output {
            self.times.add_step(&output.times);
            if let Some(window) = &mut self.window {
                window.add(&next.batch, output);
            }
        }
        self.state.step += 1;
        self.state.positions = vec![next.position.clone()];
        Ok(output)
    }

    /// `None` when the batch was given up, on all ranks.
    fn step_or_skip(&mut self, next: &DeviceBatch) -> anyhow::Result<Option<StepOutput>> {
        let (step, recent) = (self.state.step, &self.recent);
        let words = |error: TrainError| with_records(error.into(), recent).to_string();
        let collective = &*self.session.collective;
        let attempt = self
            .stepper
            .run_or_skip(step, &next.batch, collective, &words)?;
        let faults = match attempt {
            Attempt::Trained(output) => return Ok(Some(output)),
            Attempt::Skipped(faults) => faults,
        };
        let skipped_steps = self.state.skipped_steps;
        if skipped_steps >= self.training().max_skipped_steps.cast_unsigned() {
            let what = faults
                .into_iter()
                .map(|(rank, what)| match self.session.is_distributed() {
                    true => format!("rank {rank}: {what}"),
                    false => what,
                });
            let what = what.collect::<Vec<_>>().join("; ");
            return Err(TrainError::TooManySkips {
                skipped_steps,
                what,
            }
            .into());
        }
        self.state.skipped_steps += 1;
        if self.session.is_main_rank() {
            let skipped_steps = self.state.skipped_steps;
            let global_step = self.state.global_step();
            for (rank, what) in faults {
                warn!(name: "skipped_step", step, global_step, skipped_steps, rank, "skipped: {what}");
            }
        }
        Ok(None)
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
        // Every rank has the same answer, so that they average together.
        let with_tasks = self.training().log_task_losses || self.training().tensorboard;
        let (loss, task_losses) = self.session.mean_losses(output, with_tasks)?;
        let speed = progress.log(&self.state, loss, pipeline.waited());
        log_details(self.training(), &self.state, &self.stepper, &task_losses);
        if let Some(board) = &mut self.board {
            let losses = Losses {
                mean: loss,
                by_task: &task_losses,
            };
            board.log_step(&self.stepper, &self.state, output, (&losses, &speed));
        }
        if let Some(window) = &self.window {
            window.log(self.session, self.state.global_step())?;
        }
        Ok(())
    }

    /// Evaluates where it is asked for, off the clock; returns the score of the state if it is the best so far. A signal
    /// cuts it short: the evaluation is then due.
    fn evaluate(&mut self, progress: &mut Progress) -> anyhow::Result<Option<Score>> {
        self.settle()?;
        let Some(validation) = &mut self.validation else {
            return Ok(None);
        };
        let begin = Instant::now();
        progress.say("evaluating");
        let (stepper, state) = (&self.stepper, &self.state);
        let Some(found) = validation.run(self.session, stepper, state.global_step())? else {
            self.state.evaluation_due = true;
            return Ok(None);
        };
        for evaluation in &found.evaluations {
            if let Some(board) = &mut self.board {
                board.log_evaluation(self.state.global_step(), evaluation);
            }
        }
        self.times.add_evaluation(begin);
        let score = found.score();
        if let Some(verdict) = found.verdict {
            self.state.patience.get_or_insert_default().look(verdict);
        }
        progress.exclude(self.clock.elapsed());
        self.clock = Instant::now();
        Ok(score)
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

    fn save(&mut self, kind: Kind<'_>) -> anyhow::Result<()> {
        self.settle()?;
        let begin = Instant::now();
        self.checkpoints
            .save(self.session, &self.stepper, &self.state, kind)?;
        self.times.add_checkpoint(begin);
        Ok(())
    }

    /// Saves unless that is done, and waits until it is on the disk.
    fn save_for_good(&mut self) -> anyhow::Result<()> {
        self.save_unless_saved()?;
        let begin = Instant::now();
        self.checkpoints.wait()?;
        self.times.add_checkpoint(begin);
        Ok(())
    }

    fn save_unless_saved(&mut self) -> anyhow::Result<()> {
        if self.checkpoints.newest() == Some(self.state.global_step()) {
            return Ok(());
        }
        self.save(Kind::Kept)
    }

    fn save_and_stop(mut self, progress: Progress, pipeline: &Pipeline) -> anyhow::Result<()> {
        let signal = self.session.signal();
        info!(
            name: "interrupted",
            global_step = self.state.global_step(),
            signal = signal.as_str(),
            "{signal} asked this run to end: saving"
        );
        progress.say("saving");
        self.save_for_good()?;
        drop(progress);
        self.profiler.finish()?;
        self.times.log(&pipeline.beside(), self.session.device);
        self.session.collective.leave()?;
        self.session.interrupt.has_work(false);
        let save_dir = std::path::Path::new(&self.training().save_dir);
        let folder = save_dir
            .join(self.state.global_step().to_string())
            .display()
            .to_string();
        Err(TrainError::Interrupted {
            signal,
            step: self.state.step,
            folder,
        }
        .into())
    }
}

/// Adds to a divergence which records it happened on.
fn with_records(error: anyhow::Error, recent: &Recent) -> anyhow::Error {
    match error.downcast::<TrainError>() {
        Ok(TrainError::Diverged {
            step, what, row, ..
        }) => TrainError::Diverged {
            step,
            what,
            records: recent.source(step, row),
            row,
        }
        .into(),
        Ok(other) => other.into(),
        Err(error) => error,
    }
}
