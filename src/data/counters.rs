//! Counts what the loader does, and who waits for whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::payload::{Block, Payload};

/// What a loader has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records read, the bad ones left out.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Bad records that were passed over; a damaged rest of a file counts as one.
    pub skipped: u64,
    /// How long the consumer waited for batches: the data is the limit.
    pub consumer_wait: Duration,
    /// How long finished batches waited for the consumer: the training is the limit.
    pub loader_wait: Duration,
    /// Busy time of the threads, added up: reading, inflating, checksums.
    pub inflate_busy: Duration,
    /// Busy time of the threads, added up: records into rows, rows into batches.
    pub parse_busy: Duration,
    /// Threads that read and parse.
    pub threads: u64,
}

/// The counters of a loader that works, to be read from another thread.
#[derive(Clone, Debug)]
pub struct Meter(pub(crate) Arc<Stats>);

impl Meter {
    /// What was done so far.
    #[must_use]
    pub fn read(&self) -> Counters {
        self.0.counters()
    }
}

/// The running counters, shared by the threads of one loader.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    records: AtomicU64,
    bytes: AtomicU64,
    skipped: AtomicU64,
    consumer_wait_ns: AtomicU64,
    loader_wait_ns: AtomicU64,
    inflate_busy_ns: AtomicU64,
    parse_busy_ns: AtomicU64,
    threads: AtomicU64,
}

impl Stats {
    pub(crate) fn read(&self, block: &Block) {
        self.took(&block.records);
        add(&self.skipped, block.skipped);
    }

    /// Records came from a file or from the cache.
    pub(crate) fn took(&self, records: &[Payload]) {
        let bytes: usize = records.iter().map(|payload| payload.len).sum();
        add(&self.records, records.len() as u64);
        add(&self.bytes, bytes as u64);
    }

    /// The consumer waited for a batch.
    pub(crate) fn waited_for_batch(&self, time: Duration) {
        add_time(&self.consumer_wait_ns, time);
    }

    /// A batch waited for the consumer.
    pub(crate) fn waited_for_consumer(&self, time: Duration) {
        add_time(&self.loader_wait_ns, time);
    }

    /// A thread read records.
    pub(crate) fn inflated(&self, time: Duration) {
        add_time(&self.inflate_busy_ns, time);
    }

    /// A thread decoded records, or made a batch of them.
    pub(crate) fn parsed(&self, time: Duration) {
        add_time(&self.parse_busy_ns, time);
    }

    /// So many threads work.
    pub(crate) fn has_threads(&self, count: usize) {
        add(&self.threads, count as u64);
    }

    pub(crate) fn counters(&self) -> Counters {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let time = |counter: &AtomicU64| Duration::from_nanos(get(counter));
        Counters {
            records: get(&self.records),
            bytes: get(&self.bytes),
            skipped: get(&self.skipped),
            consumer_wait: time(&self.consumer_wait_ns),
            loader_wait: time(&self.loader_wait_ns),
            inflate_busy: time(&self.inflate_busy_ns),
            parse_busy: time(&self.parse_busy_ns),
            threads: get(&self.threads),
        }
    }
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

fn add_time(counter: &AtomicU64, time: Duration) {
    add(counter, u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
}
