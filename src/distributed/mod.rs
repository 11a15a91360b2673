//! Several processes as one training: launch ([`mod@env`], [`launcher`]), collectives ([`collective`]), gradient
//! averaging ([`data_parallel`]; [`timeline`] shows it at work), and one rank's failure ending all of them ([`heartbeat`]).
//! Ranks meet ([`meeting`]) at a [`store`], show their cards ([`card`]), and begin when rank 0 has seen that all are there
//! and alike ([`roll`]).

mod card;
pub mod collective;
pub mod data_parallel;
pub mod env;
mod heartbeat;
pub mod launcher;
mod liveness;
mod meeting;
pub mod process_group;
mod roll;
mod slurm;
pub mod store;
pub mod timeline;
mod variables;
mod wish;

pub use card::{Card, Fact};
pub use collective::{Collective, SingleProcess};
pub use data_parallel::DataParallel;
pub use liveness::Failure;
pub use process_group::ProcessGroup;

use std::rc::Rc;
use std::time::Duration;

use tch::Device;

use self::store::{Stop, StoreError};
use crate::torch::TorchError;

/// How a rank meets the others.
#[derive(Debug)]
pub struct Terms<'a> {
    /// Where its tensors are.
    pub device: Device,
    /// Bounds the meeting, every collective, and the silence of a rank (`training.distributed_timeout_in_s`).
    pub timeout: Duration,
    /// What it says of itself, to be compared.
    pub card: &'a Card,
    /// Whether a signal has asked for the end; it ends the meeting at once.
    pub stop: Stop,
}

/// The ranks of `launch`, or this process alone. See [`ProcessGroup::connect`].
///
/// # Errors
/// When the ranks cannot meet.
pub fn connect(
    launch: Option<&env::Launch>,
    terms: &Terms<'_>,
) -> Result<Rc<dyn Collective>, DistributedError> {
    match launch {
        Some(launch) => Ok(Rc::new(ProcessGroup::connect(launch, terms)?)),
        None => Ok(Rc::new(SingleProcess)),
    }
}

/// Why the ranks cannot work together.
#[derive(Debug, thiserror::Error)]
pub enum DistributedError {
    /// The store, where the ranks meet, cannot be reached or served.
    #[error(
        "rank {rank} cannot meet the others at {host}:{port}, where {server} serves their store"
    )]
    Rendezvous {
        /// This process.
        rank: usize,
        /// Host of the store.
        host: String,
        /// Its port.
        port: u16,
        /// Who serves it.
        server: &'static str,
        /// What happened.
        source: StoreError,
    },
    /// A signal asked for the end before the ranks had met.
    #[error(
        "a signal asked rank {rank} to end while the ranks met: nothing was trained yet, run the same command again"
    )]
    Stopped {
        /// This process.
        rank: usize,
    },
    /// Another process is this rank.
    #[error(
        "{other} is rank {rank} already: has another run the same MASTER_ADDR and MASTER_PORT, or were two processes \
         given the same RANK?"
    )]
    Twice {
        /// This process.
        rank: usize,
        /// The other one.
        other: String,
    },
    /// A rank came to say that it cannot start.
    #[error("rank {rank} cannot start: {problem}")]
    Problem {
        /// Which.
        rank: usize,
        /// Its error.
        problem: String,
    },
    /// A rank wants to send more than a message may hold.
    #[error(
        "rank {rank} has {bytes} bytes for the others, at most {limit} can travel: evaluate on fewer rows \
         (training.num_eval_steps) or with fewer metrics (which_metrics)"
    )]
    TooLarge {
        /// Which.
        rank: usize,
        /// What it has.
        bytes: u64,
        /// What may travel.
        limit: usize,
    },
    /// Some ranks never came.
    #[error("no sign of rank {ranks} within {seconds} s: {question}")]
    Absent {
        /// The missing ranks, with commas between.
        ranks: String,
        /// How long this rank waited (`training.distributed_timeout_in_s`).
        seconds: u64,
        /// What to look at.
        question: &'static str,
    },
    /// A rank is gone, and with it the run.
    #[error("rank {rank} stops during {during}: {failure}")]
    Lost {
        /// This process.
        rank: usize,
        /// The collective that failed here.
        during: &'static str,
        /// Whose fault it is.
        failure: Failure,
    },
    /// A collective failed for another reason.
    #[error("rank {rank}: {during} failed{note}")]
    Collective {
        /// This process.
        rank: usize,
        /// Which one.
        during: &'static str,
        /// What is known of the other ranks, where there are any: they live.
        note: String,
        /// What c10d said.
        source: TorchError,
    },
    /// The ranks do not train the same model with the same config on the same data.
    #[error("rank {rank} differs from rank 0: {difference}")]
    Disagreement {
        /// The first rank that differs.
        rank: usize,
        /// How.
        difference: String,
    },
    /// Another rank sent something that cannot be read.
    #[error(
        "what rank {rank} says of itself cannot be read: has it another version of this program?"
    )]
    Unreadable {
        /// That rank.
        rank: usize,
        /// Where it is wrong.
        source: serde_json::Error,
    },
}
