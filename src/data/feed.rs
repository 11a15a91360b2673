//! The open files, the batches in the making, and the threads that work on both.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use super::cache::{Cache, FileKey, Filling};
use super::counters::Stats;
use super::epoch::EpochFile;
use super::error::DataError;
use super::interleave::Sources;
use super::loader::{LoadedBatch, RecordId};
use super::open_file::{OpenBlock, OpenFile};
use super::payload::{Block, Payload};
use super::pipeline::Finished;
use super::position::{Position, Snapshot};
use super::reader::{Fallback, FileReader};
use super::source;
use super::stream::StreamSpec;
use super::tfrecord::ReadOptions;
use super::workers::{Done, FileId, Task, Workers};

/// Blocks of a file that wait to be used.
const BLOCKS_AHEAD: usize = 2;

/// Why the stream stops before its end.
pub(crate) enum Halt {
    /// Nobody takes batches any more.
    Gone,
    /// Reading failed.
    Failed(DataError),
}

/// What goes to the consumer.
pub(crate) type Delivery = Result<LoadedBatch, DataError>;

/// A batch that is being made.
struct Pending {
    number: u64,
    position: Position,
    ids: Vec<RecordId>,
}

/// The open files, the batches in the making, and the threads that work on both.
pub(crate) struct Feed {
    workers: Workers,
    /// The other end is held by the loader.
    output: SyncSender<Delivery>,
    stats: Arc<Stats>,
    cache: Cache,
    spec: StreamSpec,
    /// The epoch that is being read.
    pub(crate) epoch: u64,
    open: BTreeMap<FileId, OpenFile>,
    /// The epoch of the file to open next, its files, and the file's place.
    ahead: (u64, Vec<EpochFile>, usize),
    pending: VecDeque<Pending>,
    finished: BTreeMap<u64, Result<Finished, DataError>>,
    /// Files without a record, which were warned of.
    empty: BTreeSet<Arc<Path>>,
}

impl Feed {
    pub(crate) fn new(
        spec: &StreamSpec,
        cache: Cache,
        workers: Workers,
        output: SyncSender<Delivery>,
        stats: Arc<Stats>,
    ) -> Self {
        Self {
            workers,
            output,
            stats,
            cache,
            spec: spec.clone(),
            epoch: 0,
            open: BTreeMap::new(),
            ahead: (0, Vec::new(), 0),
            pending: VecDeque::new(),
            finished: BTreeMap::new(),
            empty: BTreeSet::new(),
        }
    }

    /// Whether bad records were passed over so far.
    pub(crate) fn has_skipped(&self) -> bool {
        self.stats.counters().skipped > 0
    }

    /// Opens the files that are open in `state`, and the next ones.
    pub(crate) fn open_at(&mut self, epoch: u64, files: Vec<EpochFile>, state: &Snapshot) {
        for &(place, start) in state.open.iter().flatten() {
            if let Some(&file) = files.get(place) {
                self.open((epoch, place), file, start);
            }
        }
        self.ahead = (epoch, files, state.next_file);
        self.open_ahead();
    }

    fn open(&mut self, id: FileId, file: EpochFile, start: u64) {
        let path = Arc::clone(&self.spec.files[file.file]);
        let key = (Arc::clone(&path), file.share);
        let mut open_files = self.open.values();
        if open_files.any(|open| open.keeps.as_ref() == Some(&key)) {
            let mut open = OpenFile::new(path);
            open.deferred = Some((file, start));
            self.open.insert(id, open);
        } else {
            self.open_now(id, file, start);
        }
    }

    fn open_now(&mut self, id: FileId, file: EpochFile, start: u64) {
        let path = Arc::clone(&self.spec.files[file.file]);
        let key = (Arc::clone(&path), file.share);
        let mut open = OpenFile::new(Arc::clone(&path));
        let options = ReadOptions {
            share: file.share,
            start,
            skip_damaged: self.spec.skip_damaged,
        };
        let source = Fallback { path, options };
        if let Some(reader) = self.reader(&mut open, key, source) {
            self.workers.submit(Task::Read(id, Box::new(reader)));
        }
        self.open.insert(id, open);
    }

    /// What a worker has to read for `open`; nothing if all of it is in memory.
    fn reader(&mut self, open: &mut OpenFile, key: FileKey, file: Fallback) -> Option<FileReader> {
        let start = file.options.start;
        let mut writer = None;
        match &mut self.cache {
            Cache::Off => {}
            Cache::Memory(store) => {
                if let Some(cached) = store.get(&key) {
                    open.cached = Some((cached, 0, start));
                    return None;
                }
                if start == 0 && store.has_room() {
                    open.filling = Some(Filling::begin(key.clone()));
                    open.keeps = Some(key);
                }
            }
            Cache::Disk(folder) => {
                if let Some(kept) = folder.get(&key, start) {
                    return Some(FileReader::Kept(kept, file));
                }
                if start == 0 {
                    writer = folder.begin(&key);
                    open.keeps = writer.is_some().then_some(key);
                }
            }
        }
        Some(FileReader::Records(file.records(start), writer))
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

    fn received(&mut self, id: FileId, reader: Box<FileReader>, block: Block) {
        self.stats.read(&block);
        if let Some(file) = self.open.get_mut(&id) {
            if block.is_empty && self.empty.insert(Arc::clone(file.path())) {
                report_empty(file.path());
            }
            if let (Some(mut filling), Cache::Memory(store)) =
                (file.filling.take(), &mut self.cache)
            {
                store.add(&mut filling, &block);
                if block.is_last {
                    store.insert(filling);
                } else if filling.is_fit() {
                    file.filling = Some(filling);
                }
            }
            if block.is_last || file.filling.is_none() && !reader.keeps() {
                // A later epoch may open it now.
                file.keeps = None;
            }
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
    pub(crate) fn submit(
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
    pub(crate) fn finish(&mut self) -> Result<(), Halt> {
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
    pub(crate) fn deliver(&self, delivery: Delivery) -> bool {
        let waited = std::time::Instant::now();
        let taken = self.output.send(delivery).is_ok();
        self.stats.waited_for_consumer(waited.elapsed());
        taken
    }
}

/// Warns of a file that has bytes but no record; one without bytes was warned of when the stream began.
fn report_empty(file: &Path) {
    if source::size(file).is_ok_and(|size| size > 0) {
        tracing::warn!(file = %file.display(), "a data file has no record: there is nothing in its compressed stream");
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
            if let Some((file, start)) = file.deferred.take() {
                self.open_now(id, file, start);
            } else if let Some(block) = file.blocks.front_mut() {
                if let Some(payload) = block.records.next() {
                    return Ok(Some((payload.record, payload)));
                }
                if let Some(error) = block.failure.take() {
                    return Err(Halt::Failed(error));
                }
                file.blocks.pop_front();
                self.read_on(id);
            } else if let Some(records) = file.next_cached() {
                self.stats.took(&records);
                file.blocks.push_back(OpenBlock {
                    records: records.into_iter(),
                    failure: None,
                });
            } else if file.is_ended {
                self.open.remove(&id);
                self.open_ahead();
                return Ok(None);
            } else {
                self.wait()?;
            }
        }
    }
}
