//! Several processes: c10d's group over our own store, with a heartbeat beside them.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tch::{Device, Kind, Tensor};

use super::collective::Collective;
use super::env::{Launch, Place};
use super::heartbeat::Heartbeat;
use super::meeting::Meeting;
use super::store::{Server, Store, StoreError};
use super::{DistributedError, Terms};
use crate::torch::TorchError;
use crate::torch::process_group::{Group, Reducer};

/// What one rank may send to all others at once: metrics over many users are the largest.
const MAX_SHARE_BYTES: usize = 1 << 30;
/// Up to here shares travel together, padded to the longest.
const SMALL_BYTES: usize = 4 << 10;

/// All ranks of the run, connected by Gloo (CPU tensors) and NCCL (CUDA tensors).
#[derive(Debug)]
pub struct ProcessGroup {
    place: Place,
    timeout: Duration,
    /// Whether this rank has left or failed, and the others know.
    is_over: Cell<bool>,
    heartbeat: Heartbeat,
    group: Group,
    store: Arc<Store>,
    /// Last, since the others use it longest.
    server: Option<Server>,
}

impl ProcessGroup {
    /// Meets the other ranks. CUDA tensors travel by NCCL when `terms.device` is a GPU, whose number must be the local
    /// rank's.
    ///
    /// From here on, a rank that dies, freezes or fails ends this process with exit code 1 and a logged message that
    /// names it.
    ///
    /// # Errors
    /// When the meeting point cannot be reached, a rank does not come or differs, a signal asks for the end, or NCCL
    /// cannot be had.
    pub fn connect(launch: &Launch, terms: &Terms<'_>) -> Result<Self, DistributedError> {
        let meeting = Meeting::new(launch, terms);
        let place = launch.place;
        let server = meeting.serve()?;
        let store = meeting.store(server.as_ref())?;
        meeting.join(&store)?;
        store.ignore_signals();
        let store = Arc::new(store);
        let heartbeat = meeting.heartbeat(server.as_ref())?;
        let group = match meeting.group(&store) {
            Ok(group) => group,
            Err(error) => {
                let error = explain(&heartbeat, place.rank, "connecting", error);
                heartbeat.fail(&store, server.is_some(), &error.to_string(), 1);
                return Err(error);
            }
        };
        heartbeat.met();
        Ok(Self {
            place,
            timeout: terms.timeout,
            is_over: Cell::new(false),
            heartbeat,
            group,
            store,
            server,
        })
    }

    /// This process's place among all.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    fn serves(&self) -> bool {
        self.server.is_some()
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

    /// How many bytes each rank has; not more than memory should have to hold.
    fn gather_lengths(&self, own: usize) -> Result<Vec<usize>, DistributedError> {
        let own = (own as u64).to_le_bytes();
        let lengths = self.run("all_gather_bytes", |_| self.gather_padded(&own, 8))?;
        let (lengths, _) = lengths.as_chunks();
        let lengths = lengths.iter().map(|&bytes| u64::from_le_bytes(bytes));
        let check = |(rank, bytes): (usize, u64)| match usize::try_from(bytes) {
            Ok(length) if length <= MAX_SHARE_BYTES => Ok(length),
            _ => Err(DistributedError::TooLarge {
                rank,
                bytes,
                limit: MAX_SHARE_BYTES,
            }),
        };
        lengths.enumerate().map(check).collect()
    }

    /// The bytes of `rank`, `length` of them; `own` are those of this rank.
    fn broadcast_bytes(
        &self,
        rank: usize,
        length: usize,
        own: &[u8],
    ) -> Result<Vec<u8>, DistributedError> {
        if length == 0 {
            return Ok(Vec::new());
        }
        self.run("all_gather_bytes", |group| {
            let tensor = if rank == self.place.rank {
                Tensor::from_slice(own)
            } else {
                let length = i64::try_from(length).unwrap_or(i64::MAX);
                Tensor::f_zeros([length], (Kind::Uint8, Device::Cpu))?
            };
            group.broadcast(rank, &[&tensor])?;
            to_bytes(&tensor)
        })
    }

    /// The store's server must outlive the other ranks' use of it; says which rank has not left in time.
    fn leave_store(&self) -> Result<(), StoreError> {
        self.store.set(&left(self.place.rank), b"yes")?;
        if !self.serves() {
            return Ok(());
        }
        let begin = Instant::now();
        for rank in 0..self.place.world_size {
            self.store
                .wait(&left(rank), self.timeout.saturating_sub(begin.elapsed()))?;
        }
        Ok(())
    }
}

fn left(rank: usize) -> String {
    format!("left/{rank}")
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

    fn gather_bytes_in_turn(
        &self,
        bytes: &[u8],
        take: &mut dyn FnMut(usize, Vec<u8>),
    ) -> Result<(), DistributedError> {
        let lengths = self.gather_lengths(bytes.len())?;
        let longest = lengths.iter().copied().max().unwrap_or(0).max(1);
        if longest > SMALL_BYTES {
            for (rank, length) in lengths.into_iter().enumerate() {
                take(rank, self.broadcast_bytes(rank, length, bytes)?);
            }
            return Ok(());
        }
        let all = self.run("all_gather_bytes", |_| self.gather_padded(bytes, longest))?;
        let rows = all.chunks_exact(longest).zip(lengths).enumerate();
        rows.for_each(|(rank, (row, length))| take(rank, row[..length].to_vec()));
        Ok(())
    }

    fn broadcast_from(&self, rank: usize, tensors: &[&Tensor]) -> Result<(), DistributedError> {
        self.run("broadcast", |group| group.broadcast(rank, tensors))
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
                "a rank went away after the work was done: {error}{}",
                in_words(&error)
            );
        }
        Ok(())
    }

    fn fail(&self, reason: &str, exit_code: u8) {
        if !self.is_over.replace(true) {
            let serves = self.serves();
            self.heartbeat.fail(&self.store, serves, reason, exit_code);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.fail("it ended before the others; its own log says why", 1);
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
            note: format!(", {}", heartbeat.without_culprit()),
            source,
        },
    }
}

fn to_bytes(tensor: &Tensor) -> Result<Vec<u8>, TorchError> {
    let flat = tensor.to_kind(Kind::Uint8).reshape([-1]);
    Ok(Vec::try_from(&flat)?)
}

/// The cause of an error, for a log line.
fn in_words(error: &StoreError) -> String {
    let cause = std::error::Error::source(error);
    cause.map_or_else(String::new, |cause| format!(": {cause}"))
}
