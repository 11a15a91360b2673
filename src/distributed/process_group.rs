//! Several processes: c10d's store and group, with a heartbeat beside them.

use std::cell::Cell;
use std::time::Duration;

use tch::{Device, Kind, Tensor};

use super::DistributedError;
use super::collective::Collective;
use super::env::{Launch, Place};
use super::heartbeat::Heartbeat;
use super::meeting::Meeting;
use crate::torch::TorchError;
use crate::torch::process_group::{Group, Reducer, Store};

/// Counts the ranks that have left in peace.
const LEFT: &str = "left";
/// Set by the last of them.
const ALL_LEFT: &str = "all_left";

/// All ranks of the run, connected by Gloo (CPU tensors) and NCCL (CUDA tensors).
#[derive(Debug)]
pub struct ProcessGroup {
    place: Place,
    rank_0_serves: bool,
    /// Whether this rank has left or failed, and the others know.
    is_over: Cell<bool>,
    heartbeat: Heartbeat,
    group: Group,
    /// Last, since the process that serves it must keep it longest.
    store: Store,
}

impl ProcessGroup {
    /// Meets the other ranks. CUDA tensors travel by NCCL when `device` is a GPU, whose number must be the local rank's.
    ///
    /// `timeout` bounds the meeting, every collective, and the silence of a rank
    /// (`training.distributed_timeout_in_s`). From here on, a rank that dies, freezes or fails ends this process
    /// with exit code 1 and a logged message that names it.
    ///
    /// # Errors
    /// When the meeting point cannot be reached, a rank does not come, or NCCL cannot be had.
    pub fn connect(
        launch: &Launch,
        device: Device,
        timeout: Duration,
    ) -> Result<Self, DistributedError> {
        let meeting = Meeting::new(launch, timeout);
        let place = launch.place;
        let store = meeting.store(launch.rendezvous.rank_0_serves && place.rank == 0)?;
        meeting.join(&store)?;
        let heartbeat = meeting.heartbeat()?;
        let group = match meeting.group(&store, device) {
            Ok(group) => group,
            Err(error) => {
                let error = explain(&heartbeat, place.rank, "connecting", error);
                let serves = launch.rendezvous.rank_0_serves && place.rank == 0;
                heartbeat.fail(&store, serves, &error.to_string());
                return Err(error);
            }
        };
        Ok(Self {
            place,
            rank_0_serves: launch.rendezvous.rank_0_serves,
            is_over: Cell::new(false),
            heartbeat,
            group,
            store,
        })
    }

    /// This process's place among all.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    fn serves(&self) -> bool {
        self.rank_0_serves && self.place.rank == 0
    }

    fn run<T>(
        &self,
        during: &'static str,
        collective: impl FnOnce(&Group) -> Result<T, TorchError>,
    ) -> Result<T, DistributedError> {
        self.heartbeat.enter();
        collective(&self.group).map_err(|source| self.explain(during, source))
    }

    /// `bytes` padded to `length` (at least 1), gathered from all ranks.
    fn gather_padded(&self, bytes: &[u8], length: usize) -> Result<Vec<u8>, TorchError> {
        let mut padded = bytes.to_vec();
        padded.resize(length.max(1), 0);
        let all = self.group.all_gather(&Tensor::from_slice(&padded))?;
        to_bytes(&all)
    }

    /// The store's server must outlive the other ranks' use of it.
    fn leave_store(&self) -> Result<(), TorchError> {
        let left = self.store.add(LEFT, 1)?;
        if usize::try_from(left).is_ok_and(|left| left == self.place.world_size) {
            self.store.set(ALL_LEFT, "yes")?;
        }
        if self.serves() {
            self.store.get_all(&[ALL_LEFT.to_owned()])?;
        }
        Ok(())
    }
}

impl Collective for ProcessGroup {
    fn rank(&self) -> usize {
        self.place.rank
    }

    fn world_size(&self) -> usize {
        self.place.world_size
    }

    fn all_reduce_mean(&self, tensor: &Tensor) -> Result<(), DistributedError> {
        self.run("all_reduce_mean", |group| group.all_reduce_mean(tensor))
    }

    fn all_gather_bytes(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, DistributedError> {
        self.run("all_gather_bytes", |_| {
            let lengths = self.gather_padded(&(bytes.len() as u64).to_le_bytes(), 8)?;
            let lengths: Vec<usize> = lengths.chunks_exact(8).map(length).collect();
            let longest = lengths.iter().copied().max().unwrap_or(0).max(1);
            let all = self.gather_padded(bytes, longest)?;
            let rows = all.chunks_exact(longest).zip(lengths);
            Ok(rows.map(|(row, length)| row[..length].to_vec()).collect())
        })
    }

    fn broadcast(&self, tensors: &[&Tensor]) -> Result<(), DistributedError> {
        self.run("broadcast", |group| group.broadcast(tensors))
    }

    fn barrier(&self) -> Result<(), DistributedError> {
        self.run("barrier", Group::barrier)
    }

    fn reducer(
        &self,
        parameters: &[&Tensor],
        bucket_bytes: u64,
    ) -> Result<Option<Reducer>, DistributedError> {
        let reducer = self.run("preparing to average gradients", |group| {
            Reducer::new(group, parameters, bucket_bytes)
        });
        reducer.map(Some)
    }

    fn enter(&self) {
        self.heartbeat.enter();
    }

    fn explain(&self, during: &'static str, source: TorchError) -> DistributedError {
        explain(&self.heartbeat, self.place.rank, during, source)
    }

    fn leave(&self) -> Result<(), DistributedError> {
        self.barrier()?;
        self.is_over.set(true);
        self.heartbeat.stop();
        if let Err(error) = self.leave_store() {
            tracing::warn!(
                rank = self.place.rank,
                "a rank went away after the work was done: {error}"
            );
        }
        Ok(())
    }

    fn fail(&self, reason: &str) {
        if !self.is_over.replace(true) {
            self.heartbeat.fail(&self.store, self.serves(), reason);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.fail("it ended before the others; its own log says why");
    }
}

fn explain(
    heartbeat: &Heartbeat,
    rank: usize,
    during: &'static str,
    source: TorchError,
) -> DistributedError {
    match heartbeat.explain() {
        Some(failure) => DistributedError::Lost {
            rank,
            during,
            failure,
        },
        None => DistributedError::Collective {
            rank,
            during,
            source,
        },
    }
}

fn to_bytes(tensor: &Tensor) -> Result<Vec<u8>, TorchError> {
    let flat = tensor.to_kind(Kind::Uint8).reshape([-1]);
    Ok(Vec::try_from(&flat)?)
}

fn length(bytes: &[u8]) -> usize {
    let number = bytes
        .iter()
        .rev()
        .fold(0_u64, |sum, &byte| (sum << 8) | u64::from(byte));
    usize::try_from(number).unwrap_or(usize::MAX)
}
