//! Several processes as one training: launch ([`mod@env`], [`launcher`]), collectives ([`collective`]), gradient
//! averaging ([`data_parallel`]; [`timeline`] shows it at work), and one rank's failure ending all of them ([`heartbeat`]).

pub mod collective;
pub mod data_parallel;
pub mod env;
mod heartbeat;
pub mod launcher;
mod liveness;
mod meeting;
pub mod process_group;
mod slurm;
pub mod timeline;

pub use collective::{Collective, SingleProcess};
pub use data_parallel::DataParallel;
pub use liveness::Failure;
pub use process_group::ProcessGroup;

use std::rc::Rc;
use std::time::Duration;

use tch::Device;

use crate::torch::TorchError;

/// The ranks of `launch`, or this process alone. See [`ProcessGroup::connect`].
///
/// # Errors
/// When the ranks cannot meet.
pub fn connect(
    launch: Option<&env::Launch>,
    device: Device,
    timeout: Duration,
) -> Result<Rc<dyn Collective>, DistributedError> {
    match launch {
        Some(launch) => Ok(Rc::new(ProcessGroup::connect(launch, device, timeout)?)),
        None => Ok(Rc::new(SingleProcess)),
    }
}

/// Why the ranks cannot work together.
#[derive(Debug, thiserror::Error)]
pub enum DistributedError {
    /// The store, where the ranks meet, cannot be reached or served.
    #[error("rank {rank} cannot meet the others at {host}:{port}")]
    Rendezvous {
        /// This process.
        rank: usize,
        /// Host of the store.
        host: String,
        /// Its port.
        port: u16,
        /// What c10d said.
        source: TorchError,
    },
    /// Some ranks never came.
    #[error(
        "no sign of rank {ranks} within {seconds} s: were all ranks started, with the same MASTER_ADDR and MASTER_PORT?"
    )]
    Absent {
        /// The missing ranks, with commas between.
        ranks: String,
        /// How long this rank waited (`training.distributed_timeout_in_s`).
        seconds: u64,
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
    #[error("rank {rank}: {during} failed")]
    Collective {
        /// This process.
        rank: usize,
        /// Which one.
        during: &'static str,
        /// What c10d said.
        source: TorchError,
    },
    /// The ranks do not train the same model with the same config.
    #[error("rank {rank} differs from rank 0: {difference}")]
    Disagreement {
        /// The first rank that differs.
        rank: usize,
        /// How.
        difference: String,
    },
    /// Another rank sent something that cannot be read.
    #[error("rank {rank} sent a description of its model that cannot be read")]
    Unreadable {
        /// That rank.
        rank: usize,
        /// Where it is wrong.
        source: serde_json::Error,
    },
}
