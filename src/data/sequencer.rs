//! Decides what comes in which order, hands the work to the pool and the finished batches to the consumer.
//!
//! Everything that decides runs on this one thread and looks at results in the order of the stream, never in the order
//! in which they arrive: that is why batches do not depend on the number of threads.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use super::counters::Stats;
use super::epoch::{EpochFile, FileOrder};
use super::error::DataError;
use super::interleave::{Interleave, Sources};
use super::loader::{LoadedBatch, RecordId};
use super::pipeline::Finished;
use super::position::{Position, Snapshot};
use super::shuffle::Shuffle;
use super::tfrecord::{Block, ChunkPool, Payload, ReadOptions, RecordReader};
use super::workers::{Done, FileId, Task, Workers};

/// Blocks of a file that wait to be used.
const BLOCKS_AHEAD: usize = 2;
/// Records between two states that are kept to restart from.
const SNAPSHOT_EVERY: u64 = 64;

/// What defines a stream of batches.
#[derive(Clone, Debug)]
pub(crate) struct StreamSpec {
    pub(crate) files: Vec<Arc<Path>>,
    pub(crate) order: FileOrder,
    /// Files open at once.
    pub(crate) interleave: usize,
    /// Records in the shuffle.
    pub(crate) window: u64,
    pub(crate) skip_damaged: bool,
    pub(crate) repeat: bool,
    /// Rows read into one batch.
    pub(crate) rows: usize,
    /// The same for two streams only if a position of one is good for the other.
    pub(crate) fingerprint: u64,
}

/// Why the sequencer stops before the end.
pub(crate) enum Halt {
    /// Nobody takes batches any more.
    Gone,
    /// Reading failed.
    Failed(DataError),
}

/// What goes to the consumer.
pub(crate) type Delivery = Result<LoadedBatch, DataError>;

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
    pub(crate) fn new(
        spec: StreamSpec,
        start: Position,
        workers: Workers,
        output: SyncSender<Delivery>,
        stats: Arc<Stats>,
    ) -> Self {
        let files = spec.order.files(start.epoch, spec.files.len());
        let window = spec.window;
        let shuffle = Shuffle::new(
            spec.order.seed,
            start.epoch,
            window,
            start.snapshot.index,
            start.last,
        );
        let mut feed = Feed::new(&spec, workers, output, stats);
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
            while payloads.len() < rows {
                match self.next_payload()? {
                    Some(payload) => payloads.push(payload),
                    None => return Ok(()),
                }
            }
            self.records += rows as u64;
            let position = self.position();
            self.feed.submit(self.batches, payloads, position)?;
            self.batches += 1;
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
            return Err(Halt::Failed(DataError::NoRecords {
                files: self.spec.files.len(),
                rank: self.spec.order.rank,
            }));
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

/// An open file.
#[derive(Default)]
struct OpenFile {
    /// `None` while a worker has it.
    reader: Option<Box<RecordReader>>,
    blocks: VecDeque<OpenBlock>,
    is_ended: bool,
}

struct OpenBlock {
    records: std::vec::IntoIter<Payload>,
    failure: Option<DataError>,
}

/// A batch that is being made.
struct Pending {
    number: u64,
    position: Position,
    ids: Vec<RecordId>,
}

/// The open files, the batches in the making, and the threads that work on both.
struct Feed {
    workers: Workers,
    /// The other end is held by the loader.
    output: SyncSender<Delivery>,
    stats: Arc<Stats>,
    pool: Arc<ChunkPool>,
    spec: StreamSpec,
    /// The epoch that is being read.
    epoch: u64,
    open: BTreeMap<FileId, OpenFile>,
    /// The epoch of the file to open next, its files, and the file's place.
    ahead: (u64, Vec<EpochFile>, usize),
    pending: VecDeque<Pending>,
    finished: BTreeMap<u64, Result<Finished, DataError>>,
}

impl Feed {
    fn new(
        spec: &StreamSpec,
        workers: Workers,
        output: SyncSender<Delivery>,
        stats: Arc<Stats>,
    ) -> Self {
        Self {
            workers,
            output,
            stats,
            pool: Arc::default(),
            spec: spec.clone(),
            epoch: 0,
            open: BTreeMap::new(),
            ahead: (0, Vec::new(), 0),
            pending: VecDeque::new(),
            finished: BTreeMap::new(),
        }
    }

    /// Opens the files that are open in `state`, and the next ones.
    fn open_at(&mut self, epoch: u64, files: Vec<EpochFile>, state: &Snapshot) {
        for &(place, start) in state.open.iter().flatten() {
            if let Some(&file) = files.get(place) {
                self.open((epoch, place), file, start);
            }
        }
        self.ahead = (epoch, files, state.next_file);
        self.open_ahead();
    }

    fn open(&mut self, id: FileId, file: EpochFile, start: u64) {
        let options = ReadOptions {
            share: file.share,
            start,
            skip_damaged: self.spec.skip_damaged,
        };
        let path = Arc::clone(&self.spec.files[file.file]);
        let reader = Box::new(RecordReader::new(path, options, Arc::clone(&self.pool)));
        self.workers.submit(Task::Read(id, reader));
        self.open.insert(id, OpenFile::default());
    }

    /// Opens the files that come next, of the next epoch too, so that their first records are there in time.
    fn open_ahead(&mut self) {
        let wanted = self.spec.interleave.max(self.workers.count()) + 1;
        while self.open.len() < wanted {
            let (epoch, files, place) = &mut self.ahead;
            if let Some(&file) = files.get(*place) {
                let id = (*epoch, *place);
                *place += 1;
                self.open(id, file, 0);
            } else if self.spec.repeat {
                *epoch += 1;
                *place = 0;
                *files = self.spec.order.files(*epoch, self.spec.files.len());
            } else {
                return;
            }
        }
    }

    /// Lets a worker read on in a file whose blocks run out.
    fn read_on(&mut self, id: FileId) {
        if let Some(file) = self.open.get_mut(&id)
            && !file.is_ended
            && file.blocks.len() < BLOCKS_AHEAD
            && let Some(reader) = file.reader.take()
        {
            self.workers.submit(Task::Read(id, reader));
        }
    }

    /// Waits for one result of a worker.
    fn wait(&mut self) -> Result<(), Halt> {
        match self.workers.wait() {
            Done::Read(id, reader, block) => {
                self.received(id, reader, block);
                Ok(())
            }
            Done::Batch(number, result) => {
                self.finished.insert(number, result);
                self.deliver_finished()
            }
            Done::Panicked(error) => {
                // What the thread was working on never comes: nothing can follow.
                self.deliver(Err(error));
                Err(Halt::Gone)
            }
        }
    }

    fn received(&mut self, id: FileId, reader: Box<RecordReader>, block: Block) {
        self.stats.read(&block);
        if let Some(file) = self.open.get_mut(&id) {
            file.is_ended = block.is_last;
            file.reader = Some(reader);
            file.blocks.push_back(OpenBlock {
                records: block.records.into_iter(),
                failure: block.failure,
            });
            self.read_on(id);
        }
    }

    /// Has a batch made of `payloads`; `position` is the place after it.
    fn submit(
        &mut self,
        number: u64,
        payloads: Vec<Payload>,
        position: Position,
    ) -> Result<(), Halt> {
        let ids = payloads.iter().map(RecordId::of).collect();
        self.pending.push_back(Pending {
            number,
            position,
            ids,
        });
        self.workers.submit(Task::Batch(number, payloads));
        while self.pending.len() > self.workers.count() {
            self.wait()?;
        }
        Ok(())
    }

    /// Waits for the batches in the making.
    fn finish(&mut self) -> Result<(), Halt> {
        while !self.pending.is_empty() {
            self.wait()?;
        }
        Ok(())
    }

    /// Hands on the batches whose turn it is.
    fn deliver_finished(&mut self) -> Result<(), Halt> {
        while let Some(first) = self.pending.front()
            && let Some(result) = self.finished.remove(&first.number)
            && let Some(pending) = self.pending.pop_front()
        {
            let delivery = result.map(|(batch, origin)| LoadedBatch {
                batch,
                position: pending.position,
                records: origin.iter().map(|&row| pending.ids[row].clone()).collect(),
            });
            let is_last = delivery.is_err();
            if !self.deliver(delivery) || is_last {
                return Err(Halt::Gone);
            }
        }
        Ok(())
    }

    /// Hands `delivery` to the consumer, waiting for room; whether it took it.
    fn deliver(&self, delivery: Delivery) -> bool {
        let waited = std::time::Instant::now();
        let taken = self.output.send(delivery).is_ok();
        self.stats.waited_for_consumer(waited.elapsed());
        taken
    }
}

impl Sources for Feed {
    type Item = Payload;
    type Error = Halt;

    fn next(&mut self, place: usize) -> Result<Option<(u64, Payload)>, Halt> {
        let id = (self.epoch, place);
        loop {
            let Some(file) = self.open.get_mut(&id) else {
                return Ok(None);
            };
            if let Some(block) = file.blocks.front_mut() {
                if let Some(payload) = block.records.next() {
                    return Ok(Some((payload.record, payload)));
                }
                if let Some(error) = block.failure.take() {
                    return Err(Halt::Failed(error));
                }
                file.blocks.pop_front();
                self.read_on(id);
            } else if file.is_ended {
                self.open.remove(&id);
                self.open_ahead();
                return Ok(None);
            } else {
                let waited = std::time::Instant::now();
                self.wait()?;
                self.stats.waited_for_files(waited.elapsed());
            }
        }
    }
}
