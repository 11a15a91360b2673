//! Training: [`setup`] builds what a run needs, [`step`] is the one step of both loops, [`trainer`] and [`debug`] are
//! the loops, [`pipeline`] feeds them through `staging`, [`state`] is what a checkpoint remembers beside tensors, [`pending`] the
//! gradients of an accumulation that has begun.
//! [`checks`] finds out which steps diverged, [`skip`] gives them up. `card` is what ranks compare before they begin,
//! [`engine`] what decides about the last bits. [`evaluate`] measures a model on a partition (`groups` are those of GAUC), [`validation`] does so while
//! training; [`window`] measures what was trained on last. [`progress`], [`tensorboard`], [`times`] and [`profiler`] say
//! how it goes.

mod card;
pub mod checkpoints;
pub mod checks;
pub mod debug;
pub mod engine;
pub mod evaluate;
pub mod evaluation;
pub mod fit;
mod groups;
pub mod pending;
pub mod pipeline;
pub mod profiler;
pub mod progress;
pub mod restore;
pub mod run_record;
pub mod session;
pub mod setup;
pub mod skip;
mod staging;
pub mod state;
pub mod statistics;
pub mod step;
pub mod tensorboard;
pub mod times;
pub mod trainer;
pub mod validation;
pub mod window;

/// Why training ended before its last step.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The loss or a gradient is not a finite number; the update was not made.
    #[error(
        "diverged at step {step}: {what} is not finite; the last good checkpoint is kept; batch from {records}; {}",
        remedy(*row)
    )]
    Diverged {
        /// Batches trained before this one.
        step: u64,
        /// The first tensor that is not finite.
        what: String,
        /// Files and records of the batch, or the one record that brought it.
        records: String,
        /// The first row of the batch with an input that is not finite itself.
        row: Option<usize>,
    },
    /// The same after as many skipped batches as are allowed, on all ranks alike.
    #[error("{what} (training.max_skipped_steps: {skipped_steps} are skipped already)")]
    TooManySkips {
        /// Batches skipped before.
        skipped_steps: u64,
        /// Which ranks say what.
        what: String,
    },
    /// The same in a loop that saves nothing and is there to look for trouble.
    #[error(
        "diverged at step {step}: {what} is not finite; batch from {records}; try a lower learning rate or \
         training.max_grad_norm"
    )]
    DivergedInTrial {
        /// Batches trained before this one.
        step: u64,
        /// The first tensor that is not finite.
        what: String,
        /// Files and records of the batch.
        records: String,
    },
    /// A signal asked the run to end.
    #[error(
        "interrupted by {signal} after step {step}; the state is saved in {folder}: run the same command again to go on"
    )]
    Interrupted {
        /// The signal, and the rank it came to where that is another one.
        signal: String,
        /// Batches trained.
        step: u64,
        /// The checkpoint.
        folder: String,
    },
    /// A signal asked a run to end that had nothing to save, before its first step say, and waited for something.
    #[error(
        "interrupted by {signal}: nothing was left to save, and the run waited for something that does not come; run \
         the same command again to go on"
    )]
    InterruptedIdle {
        /// The signal, and the rank it came to where that is another one.
        signal: String,
    },
    /// A signal asked the debug loop to end.
    #[error(
        "interrupted by {signal} after {steps} steps; the debug loop saves nothing: run the same command again"
    )]
    DebugInterrupted {
        /// The signal, and the rank it came to where that is another one.
        signal: String,
        /// Steps so far.
        steps: u64,
    },
    /// A checkpoint does not fit the config.
    #[error("checkpoint {folder} does not fit this config: {problem}; {remedy}")]
    Mismatch {
        /// The checkpoint.
        folder: String,
        /// What does not fit.
        problem: String,
        /// What to do.
        remedy: Remedy,
    },
    /// Model and batches do not fit into the memory there is: a matter of config.
    #[error(
        "this needs about {needs} of memory, the process may use {has}: {what}{ranks}; make it smaller, or use a \
         machine with more memory"
    )]
    TooLarge {
        /// Memory that is needed, at least.
        needs: String,
        /// Memory that this process could have.
        has: String,
        /// What for.
        what: String,
        /// On how many ranks, where there are several.
        ranks: String,
    },
    /// The data ended before the last step.
    #[error("the data ended after step {step}, {num_train_steps} were asked for")]
    DataEnded {
        /// Batches trained.
        step: u64,
        /// `training.num_train_steps`.
        num_train_steps: u64,
    },
    /// A signal asked the ranks that this process started to end.
    #[error(
        "a signal has ended the ranks; what is saved stands above: run the same command again to go on"
    )]
    RanksInterrupted,
    /// A rank that this process started has failed; its own log says why.
    #[error("a rank failed with exit code {code}")]
    RankFailed {
        /// The exit code of the first rank that failed.
        code: u8,
    },
    /// A thread of the pipeline ended without a word.
    #[error("the {thread} thread panicked: a bug in this program, its message stands above")]
    Panicked {
        /// Its name.
        thread: &'static str,
    },
}

/// What helps against a divergence; `row` where it came with the data.
fn remedy(row: Option<usize>) -> &'static str {
    match row {
        Some(_) => "it came with the data: correct the record, or leave it out",
        None => "try a lower learning rate, training.max_grad_norm, or --debug_loop to look closer",
    }
}

/// What to do about a checkpoint that does not fit the config, by what it was wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// To go on with the training.
    Resume,
    /// To begin a training from its weights.
    WarmStart,
    /// To use its weights.
    Weights,
}

impl std::fmt::Display for Remedy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Resume => {
                "train in another training.save_dir, or go back to the config in run.json, which made the newest checkpoint"
            }
            Self::WarmStart => {
                "name a checkpoint of the same model in training.initial_checkpoint_dir, or fit the model to it"
            }
            Self::Weights => {
                "use the config that it was trained with: run.json in the folder of its run has it"
            }
        })
    }
}

impl TrainError {
    /// A divergence at `step`; whoever knows the batch adds its records.
    fn diverged(step: u64, what: String) -> Self {
        Self::Diverged {
            step,
            what,
            records: String::new(),
            row: None,
        }
    }
}

/// Says of an `error` in a loop that saves nothing on which `records` it happened.
pub(crate) fn in_trial(error: anyhow::Error, records: String) -> anyhow::Error {
    match error.downcast::<TrainError>() {
        Ok(TrainError::Diverged { step, what, .. }) => TrainError::DivergedInTrial {
            step,
            what,
            records,
        }
        .into(),
        Ok(other) => anyhow::Error::from(other).context(format!("batch from {records}")),
        Err(error) => error.context(format!("batch from {records}")),
    }
}
