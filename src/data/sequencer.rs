//! Decides what comes in which order, hands the work to the pool and the finished batches to the consumer.
//!
//! Everything that decides runs on this one thread and looks at results in the order of the stream, never in the order
//! in which they arrive: that is why batches do not depend on the number of threads.

use std::collections::VecDeque;

use super::error::DataError;
use super::feed::{Feed, Halt};
use super::interleave::Interleave;
use super::no_records::NoRecords;
use super::payload::Payload;
use super::position::{Position, Snapshot};
use super::shuffle::Shuffle;
use super::stream::StreamSpec;

/// Records between two states that are kept to restart from.
const SNAPSHOT_EVERY: u64 = 64;

/// The thread's state.
pub(crate) struct Sequencer {
    spec: StreamSpec,
    feed: Feed,
    epoch: EpochRun,
    batches: u64,
    records: u64,
}

/// One epoch in progress.
struct EpochRun {
    number: u64,
    interleave: Interleave,
    shuffle: Shuffle<Payload>,
    /// Every record of the epoch has been read.
    is_read: bool,
    /// States to restart from, ascending; the first one is at or before the oldest record needed.
    snapshots: VecDeque<Snapshot>,
}

impl Sequencer {
    /// Starts at `position`, which belongs to this stream, or at the beginning of its epoch.
    pub(crate) fn new(spec: StreamSpec, start: Position, mut feed: Feed) -> Self {
        let files = spec.order.files(start.epoch, spec.files.len());
        let window = spec.window;
        let shuffle = Shuffle::new(
            spec.order.seed,
            start.epoch,
            window,
            start.snapshot.index,
            start.last,
        );
        feed.epoch = start.epoch;
        feed.open_at(start.epoch, files.clone(), &start.snapshot);
        let interleave = Interleave::resume(files.len(), start.snapshot);
        let epoch = EpochRun {
            number: start.epoch,
            interleave,
            shuffle,
            is_read: false,
            snapshots: VecDeque::new(),
        };
        Self {
            spec,
            feed,
            epoch,
            batches: start.batches,
            records: start.records,
        }
    }

    /// Runs until the stream ends, fails, or nobody listens.
    pub(crate) fn run(mut self) {
        let outcome = self.batches().and_then(|()| self.feed.finish());
        if let Err(Halt::Failed(error)) = outcome {
            // What was read before the failure still counts.
            if self.feed.finish().is_ok() {
                self.feed.deliver(Err(error));
            }
        }
    }

    fn batches(&mut self) -> Result<(), Halt> {
        let rows = self.spec.rows;
        loop {
            let mut payloads = Vec::with_capacity(rows);
            while payloads.len() < rows
                && let Some(payload) = self.next_payload()?
            {
                payloads.push(payload);
            }
            let is_remainder = payloads.len() < rows;
            if payloads.is_empty() || is_remainder && self.spec.drop_remainder {
                return Ok(());
            }
            self.records += payloads.len() as u64;
            let position = self.position();
            self.feed.submit(self.batches, payloads, position)?;
            self.batches += 1;
            if is_remainder {
                return Ok(());
            }
        }
    }

    fn position(&mut self) -> Position {
        let epoch = &mut self.epoch;
        let oldest = epoch.shuffle.oldest_needed();
        while epoch
            .snapshots
            .get(1)
            .is_some_and(|next| next.index <= oldest)
        {
            epoch.snapshots.pop_front();
        }
        Position {
            stream: self.spec.fingerprint,
            epoch: epoch.number,
            batches: self.batches + 1,
            records: self.records,
            last: epoch.shuffle.last(),
            snapshot: epoch.snapshots.front().cloned().unwrap_or_default(),
        }
    }

    /// The next record of the stream; `None` at its end.
    fn next_payload(&mut self) -> Result<Option<Payload>, Halt> {
        loop {
            let epoch = &mut self.epoch;
            if let Some(payload) = epoch.shuffle.pop(epoch.is_read) {
                return Ok(Some(payload));
            }
            if epoch.is_read {
                if !self.spec.repeat {
                    return Ok(None);
                }
                self.begin_next_epoch()?;
                continue;
            }
            let state = epoch.interleave.state();
            if state.index.is_multiple_of(SNAPSHOT_EVERY)
                && epoch
                    .snapshots
                    .back()
                    .is_none_or(|last| last.index < state.index)
            {
                epoch.snapshots.push_back(state.clone());
            }
            match epoch.interleave.next(&mut self.feed)? {
                Some(payload) => epoch.shuffle.push(payload),
                None => epoch.is_read = true,
            }
        }
    }

    fn begin_next_epoch(&mut self) -> Result<(), Halt> {
        if self.epoch.shuffle.last().is_none() {
            let order = &self.spec.order;
            return Err(Halt::Failed(DataError::NoRecords(NoRecords {
                files: self.spec.files.clone(),
                rank: (order.rank, order.world_size),
                has_skipped: self.feed.has_skipped(),
            })));
        }
        let number = self.epoch.number + 1;
        let files = self.spec.order.files(number, self.spec.files.len());
        self.feed.epoch = number;
        self.epoch = EpochRun {
            number,
            interleave: Interleave::new(files.len(), self.spec.interleave),
            shuffle: Shuffle::new(self.spec.order.seed, number, self.spec.window, 0, None),
            is_read: false,
            snapshots: VecDeque::new(),
        };
        Ok(())
    }
}
