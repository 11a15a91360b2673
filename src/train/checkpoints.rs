//! The checkpoints of a run as the loop sees them: rank 0 reads and writes, every rank gets what rank 0 has.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use tracing::{info, warn};

use super::restore;
use super::run_record;
use super::session::Session;
use super::state::TrainState;
use super::step::Stepper;
use super::validation::Score;
use crate::checkpoint::{Checkpoint, Manager, Snapshot};
use crate::config::PositiveInt;

/// The checkpoints of one run.
#[derive(Debug)]
pub struct Checkpoints {
    /// Rank 0 only.
    manager: Option<Manager>,
    /// What the run resumes from.
    resume: Option<Checkpoint>,
    /// Global step of the newest one.
    newest: Option<u64>,
    last_save: Instant,
}

impl Checkpoints {
    /// Takes the run's folder and finds its newest valid checkpoint; writes `run.json`.
    ///
    /// # Errors
    /// When the folder cannot be created, written or listed, or another run has it.
    pub fn open(session: &Session) -> anyhow::Result<Self> {
        let mut checkpoints = Self {
            manager: None,
            resume: None,
            newest: None,
            last_save: Instant::now(),
        };
        if !session.is_main_rank() {
            return Ok(checkpoints);
        }
        let training = &session.config.training;
        let keep = training.checkpoint_max_to_keep.map(PositiveInt::get);
        let manager = Manager::open(Path::new(&training.save_dir), keep)?;
        let events = crate::logging::open_events(manager.save_dir());
        events.context("cannot write events.jsonl in training.save_dir")?;
        run_record::write(session, manager.save_dir())?;
        checkpoints.resume = manager.newest_valid()?;
        checkpoints.manager = Some(manager);
        Ok(checkpoints)
    }

    /// Whether the newest checkpoint has all steps already; says so.
    ///
    /// # Errors
    /// When a rank is lost.
    pub fn is_finished(&self, session: &Session) -> anyhow::Result<bool> {
        let training = &session.config.training;
        let step = self
            .resume
            .as_ref()
            .and_then(|checkpoint| checkpoint.state()?["step"].as_u64());
        let finished = step.is_some_and(|step| step >= training.num_train_steps.get());
        if finished {
            info!(
                "training is finished: the newest checkpoint in {} is at step {}, training.num_train_steps is {}",
                training.save_dir,
                step.unwrap_or_default(),
                training.num_train_steps.get()
            );
        }
        let answers = session.collective.all_gather_bytes(&[u8::from(finished)])?;
        Ok(answers.first().is_some_and(|answer| answer == &[1]))
    }

    /// Restores the newest checkpoint, or the weights of `initial_checkpoint_dir`, or leaves the stepper as it is.
    ///
    /// # Errors
    /// When it cannot be read or does not fit the config, or a rank is lost.
    pub fn restore(
        &mut self,
        session: &Session,
        stepper: &mut Stepper,
    ) -> anyhow::Result<TrainState> {
        let first = TrainState::first(&session.config.training, session.place);
        let state = match self.resume.take() {
            Some(checkpoint) => {
                let state = restore::resume(stepper, &checkpoint)?;
                info!(
                    name: "resumed",
                    checkpoint = %checkpoint.folder().display(),
                    step = state.step,
                    "resumed"
                );
                self.newest = Some(state.global_step());
                state
            }
            None if session.is_main_rank() => {
                if let Some(folder) = &session.config.training.initial_checkpoint_dir {
                    restore::warm_start(stepper, Path::new(folder))?;
                }
                first
            }
            None => first,
        };
        if session.is_main_rank() {
            let forgotten = crate::logging::forget_after(state.global_step());
            forgotten.context("cannot write events.jsonl in training.save_dir")?;
        }
        let mut state = session.share_state(state)?;
        let (before, now) = (state.world_size, session.place.world_size);
        state.continue_at(session.place);
        if before != state.world_size {
            info!(
                "{before} ranks trained before, {now} do now: weights and optimizer go on, the epoch begins anew"
            );
        }
        Ok(state)
    }

    /// Saves; every rank calls it at the same step.
    ///
    /// # Errors
    /// When this save or the one before fails, or a rank is lost.
    pub fn save(
        &mut self,
        session: &Session,
        stepper: &Stepper,
        state: &TrainState,
    ) -> anyhow::Result<()> {
        let begin = Instant::now();
        let snapshot = self.snapshot(session, stepper, state)?;
        if let (Some(manager), Some(snapshot)) = (&mut self.manager, snapshot) {
            manager.save(snapshot)?;
            info!(
                name: "saving",
                global_step = state.global_step(),
                stalled_secs = begin.elapsed().as_secs_f64(),
                "saving in the background"
            );
        }
        self.newest = Some(state.global_step());
        self.last_save = Instant::now();
        Ok(())
    }

    /// Saves as the best checkpoint so far, with its score; every rank calls it at the same step.
    ///
    /// # Errors
    /// As for [`Self::save`].
    pub fn save_best(
        &mut self,
        session: &Session,
        stepper: &Stepper,
        state: &TrainState,
        score: &Score,
    ) -> anyhow::Result<()> {
        let snapshot = self.snapshot(session, stepper, state)?;
        if let (Some(manager), Some(mut snapshot)) = (&mut self.manager, snapshot) {
            score.write(&mut snapshot.state);
            manager.save_best(snapshot)?;
        }
        Ok(())
    }

    /// What is to be saved, on rank 0; the other ranks give their share.
    fn snapshot(
        &self,
        session: &Session,
        stepper: &Stepper,
        state: &TrainState,
    ) -> anyhow::Result<Option<Snapshot>> {
        let state = TrainState {
            positions: gather_positions(session, state)?,
            ..state.clone()
        };
        warn_of_drift(session, stepper)?;
        let pending = stepper.pending_gradients(&*session.collective)?;
        if self.manager.is_none() {
            return Ok(None);
        }
        restore::snapshot(stepper, &state, pending).map(Some)
    }

    /// Reports a background save that has failed; returns at once.
    ///
    /// # Errors
    /// The failure.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.manager
            .as_mut()
            .map_or(Ok(()), |manager| Ok(manager.check()?))
    }

    /// Waits until the last save is on the disk.
    ///
    /// # Errors
    /// When it failed.
    pub fn wait(&mut self) -> anyhow::Result<()> {
        self.manager
            .as_mut()
            .map_or(Ok(()), |manager| Ok(manager.wait().map(|_| ())?))
    }

    /// Global step of the newest checkpoint.
    #[must_use]
    pub fn newest(&self) -> Option<u64> {
        self.newest
    }

    /// Time since the last save or the start.
    #[must_use]
    pub fn since_last_save(&self) -> Duration {
        self.last_save.elapsed()
    }
}

/// Ranks make the same updates, so they differ only through a fault of machine or network.
fn warn_of_drift(session: &Session, stepper: &Stepper) -> anyhow::Result<()> {
    let Some(parallel) = &stepper.parallel else {
        return Ok(());
    };
    if let Some(parameter) = parallel.first_difference()?
        && session.is_main_rank()
    {
        warn!(
            parameter,
            "the ranks no longer have the same parameters: check the machines; this checkpoint holds those of rank 0"
        );
    }
    Ok(())
}

/// The data position of every rank.
fn gather_positions(
    session: &Session,
    state: &TrainState,
) -> anyhow::Result<Vec<crate::data::Position>> {
    let all = session
        .collective
        .all_gather_bytes(&serde_json::to_vec(&state.positions)?)?;
    let read = |bytes: &Vec<u8>| serde_json::from_slice::<Vec<crate::data::Position>>(bytes);
    let lists: Vec<_> = all
        .iter()
        .map(read)
        .collect::<Result<_, _>>()
        .context("a rank sent no position")?;
    Ok(lists.into_iter().flatten().collect())
}
