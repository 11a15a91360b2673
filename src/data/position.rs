//! Where a stream of batches stands: small, exact, independent of how long the run has been.

use serde::{Deserialize, Serialize};

/// A place between two batches of one rank's stream, to be saved with a checkpoint.
///
/// Only the same stream (files, seed, world size, rank, shuffle buffer, interleave) continues exactly. Any other stream
/// given this position begins the epoch in progress anew: no record of the epoch is lost, and none is repeated more
/// than once. That is also the rule for another world size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Identifies the stream.
    pub(crate) stream: u64,
    /// Passes over the files completed before this one.
    pub(crate) epoch: u64,
    /// Batches handed out so far, over all epochs.
    pub(crate) batches: u64,
    /// Records in those batches.
    pub(crate) records: u64,
    /// Key and index of the last record handed out in this epoch.
    pub(crate) last: Option<(u64, u64)>,
    /// From where to read again.
    pub(crate) snapshot: Snapshot,
}

impl Position {
    /// Passes over the files completed before this position.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Batches before this position, over all epochs.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.batches
    }

    /// Records read into those batches.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }
}

/// The state of the interleave before one record of an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// Index of that record in the epoch.
    pub(crate) index: u64,
    /// Place in the epoch's order of the next file to open.
    pub(crate) next_file: usize,
    /// Slot whose turn it is.
    pub(crate) slot: usize,
    /// Records it has had in this turn.
    pub(crate) taken: usize,
    /// By slot, the open file: its place in the epoch's order, and the number of its next record.
    pub(crate) open: Vec<Option<(usize, u64)>>,
}
