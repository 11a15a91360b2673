//! The checkpoints of a run as the loop sees them: rank 0 reads and writes, every rank gets what rank 0 has.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use tracing::{info, warn};

use super::engine::Engine;
use super::pending::{self, Pending};
use super::restore;
use super::run_record;
use super::session::Session;
use super::state::TrainState;
use super::step::Stepper;
use super::validation::Score;
use crate::checkpoint::{Checkpoint, Manager, Snapshot, Targets};
use crate::config::{PositiveInt, TrainingConfig};
use crate::machine::{Memory, bytes_text};

/// As what a state is saved.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'a> {
    /// As one of those to keep.
    Kept,
    /// As the best one so far, with its score.
    Best(&'a Score),
    /// As both.
    KeptAndBest(&'a Score),
}

/// The checkpoints of one run.
#[derive(Debug)]
pub struct Checkpoints {
    /// Rank 0 only.
    manager: Option<Manager>,
    /// What the run resumes from.
    resume: Option<Checkpoint>,
    /// What made that one, once this run has begun: what makes the next one.
    record: Option<Value>,
    /// Global step of the newest one.
    newest: Option<u64>,
    last_save: Instant,
}

impl Checkpoints {
    /// Takes the run's folder and finds its newest valid checkpoint.
    ///
    /// # Errors
    /// When the folder cannot be created, written or listed, another run has it, or a checkpoint that may be the newest
    /// cannot be read.
    pub fn open(session: &Session) -> anyhow::Result<Self> {
        let mut checkpoints = Self {
            manager: None,
            resume: None,
            record: None,
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
        let resume = manager.newest_valid()?;
        checkpoints.record = run_record::before(session, manager.save_dir(), resume.as_ref());
        checkpoints.resume = resume;
        checkpoints.manager = Some(manager);
        Ok(checkpoints)
    }

    /// Whether the newest checkpoint has all steps already; says so, and removes what a run that was killed after its
    /// last save has left beyond the number to keep.
    ///
    /// # Errors
    /// When a rank is lost.
    pub fn is_finished(&self, session: &Session) -> anyhow::Result<bool> {
        let training = &session.config.training;
        let state = self.resume.as_ref().and_then(Checkpoint::state);
        let step = state.and_then(|state| state["step"].as_u64());
        let all_steps = step.is_some_and(|step| step >= training.num_train_steps.get());
        let waited = state.and_then(|state| state["patience"]["waited"].as_u64());
        let patience = training.early_stopping_patience;
        let stopped = patience.is_some_and(|patience| waited.unwrap_or(0) >= patience.get());
        let is_due = state.and_then(|state| state["evaluation_due"].as_bool());
        let is_due = training.evaluate && is_due == Some(true);
        let finished = (all_steps || stopped) && !is_due;
        if finished && let (Some(manager), Some(checkpoint)) = (&self.manager, &self.resume) {
            manager.retire(checkpoint);
        }
        if finished && !all_steps {
            info!(
                "training is finished: it stopped early at step {}, after {} evaluations that were no better; \
                 training.early_stopping_patience is {}",
                step.unwrap_or_default(),
                waited.unwrap_or_default(),
                patience.map_or(0, PositiveInt::get)
            );
        } else if finished {
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

    /// Restores the newest checkpoint, or the weights of `initial_checkpoint_dir`, or leaves the stepper as it is; the
    /// gradients of an accumulation that has begun are left to [`Session::join`].
    ///
    /// # Errors
    /// When it cannot be read or does not fit the config, or a rank is lost.
    pub fn restore(
        &mut self,
        session: &Session,
        stepper: &mut Stepper,
    ) -> anyhow::Result<(TrainState, Pending)> {
        let mut pending = Pending::default();
        let first = TrainState::first(&session.config.training, session.place);
        let state = match self.resume.take() {
            Some(checkpoint) => {
                let (state, gradients) = restore::resume(stepper, &checkpoint)?;
                pending = gradients;
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
        state.engine = Some(Engine::go_on(state.engine.as_ref()));
        let (before, now) = (state.world_size, session.place.world_size);
        state.continue_at(session.place);
        if before != state.world_size {
            info!(
                "{before} ranks trained before, {now} do now: weights and optimizer go on, the epoch begins anew"
            );
        }
        Ok((state, pending))
    }

    /// Prepares for saves: from now on they say what made them, and where there will be some in the middle of the training
    /// memory is taken for a copy of `stepper`, so that it stands still only while that is made.
    ///
    /// # Errors
    /// When the config cannot be written as JSON, or no thread can be started.
    pub fn prepare(
        &mut self,
        session: &Session,
        stepper: &Stepper,
        state: &TrainState,
    ) -> anyhow::Result<()> {
        let Some(manager) = &mut self.manager else {
            return Ok(());
        };
        self.record = Some(run_record::record(session, state, self.record.take())?);
        if saves_in_between(&session.config.training, state.step) {
            let like = restore::snapshot(stepper, state, Vec::new())?;
            let (needs, left) = (like.bytes() as u64, Memory::now().left());
            // The other half is for gradients and for what lies between the layers.
            if needs > left / 2 {
                warn!(
                    needs = bytes_text(needs),
                    left = bytes_text(left),
                    "saves: too little memory for a copy, so that training stops while each is written"
                );
                return Ok(());
            }
            info!(
                takes = bytes_text(needs),
                "saves: memory is taken for a copy, which is written while training goes on"
            );
            manager.stage_copies(&like)?;
        }
        Ok(())
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
        kind: Kind<'_>,
    ) -> anyhow::Result<()> {
        let begin = Instant::now();
        let snapshot = self.snapshot(session, stepper, state)?;
        if let (Some(manager), Some(snapshot)) = (&mut self.manager, snapshot) {
            let targets = kind.targets(&snapshot);
            manager.save(snapshot, targets)?;
            info!(
                name: "saving",
                global_step = state.global_step(),
                stalled_secs = begin.elapsed().as_secs_f64(),
                "saving in the background"
            );
        }
        if !matches!(kind, Kind::Best(_)) {
            self.newest = Some(state.global_step());
            self.last_save = Instant::now();
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
        let pending = pending::gather(stepper, &*session.collective)?;
        if self.manager.is_none() {
            return Ok(None);
        }
        let snapshot = restore::snapshot(stepper, &state, pending)?;
        Ok(Some(Snapshot {
            run: self.record.clone(),
            ..snapshot
        }))
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

impl Kind<'_> {
    fn targets(self, snapshot: &Snapshot) -> Targets {
        let best = match self {
            Self::Kept => None,
            Self::Best(score) | Self::KeptAndBest(score) => {
                let mut state = snapshot.state.clone();
                score.write(&mut state);
                Some(state)
            }
        };
        Targets {
            step: !matches!(self, Self::Best(_)),
            best,
        }
    }
}

/// Whether a run that goes on at `step` saves before its end.
fn saves_in_between(training: &TrainingConfig, step: u64) -> bool {
    let before_the_end = |every: u64| {
        let next = (step / every).saturating_add(1).saturating_mul(every);
        next < training.num_train_steps.get()
    };
    let keeps_best = training.evaluate && training.keep_best_metric.is_some();
    training.checkpoint_every_secs.is_some()
        || before_the_end(training.checkpoint_every_n.get())
        || keeps_best && before_the_end(training.eval_log_every_n.get())
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
