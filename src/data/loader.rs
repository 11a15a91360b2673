//! The loader: from a config and a position to a stream of batches.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use super::background::Background;
use super::cache::{self, Cache};
use super::counters::{Counters, Meter, Stats};
use super::error::DataError;
use super::feed::{Delivery, Feed};
use super::fit;
use super::payload::Payload;
use super::pipeline::{Mode, Pipeline};
use super::position::Position;
use super::sequencer::Sequencer;
use super::stream::StreamSpec;
use super::workers::{Workers, panicked};
use crate::batch::HostBatch;
use crate::config::{NumThreads, RecapDataConfig};
use crate::machine;

/// Finished batches that wait for the consumer.
const BATCHES_AHEAD: usize = 2;
/// Most threads taken unless asked for more.
const MAX_DEFAULT_THREADS: usize = 32;
/// Most threads taken whatever is asked for: more only wait for each other, and each reads files ahead.
const MAX_THREADS_PER_CORE: usize = 8;
/// So many always, as they may wait for a store.
const MIN_MAX_THREADS: usize = 64;

/// What a loader is opened for.
#[derive(Clone, Debug)]
pub struct LoaderOptions {
    /// Decides the order of files and records.
    pub seed: u64,
    /// Which share of the data this loader reads: 0 to `world_size` − 1.
    pub rank: usize,
    /// How many loaders share the data; at least 1.
    pub world_size: usize,
    /// How many of them run on this machine and share its memory; at least 1.
    pub local_world_size: usize,
    /// What the batches are for.
    pub mode: Mode,
    /// Take labels and weights of any value: to look at them, not to learn from them.
    pub any_labels: bool,
    /// Threads that inflate and parse (`None`: `map_num_parallel_calls`, else one per core of this loader's
    /// share). Batches do not depend on it.
    pub threads: Option<usize>,
    /// Read the sorted files once, one after the other, nothing shuffled.
    pub in_order: bool,
    /// Begin the next epoch where one ends. `in_order` wins over it.
    pub repeat: bool,
    /// Leave out the rows at the end of the stream that fill no whole batch, as training does.
    pub drop_remainder: bool,
}

/// Where a row came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordId {
    /// The file.
    pub file: Arc<Path>,
    /// Number of the record in it, from 0.
    pub record: u64,
}

impl RecordId {
    pub(crate) fn of(payload: &Payload) -> Self {
        Self {
            file: Arc::clone(&payload.path),
            record: payload.record,
        }
    }
}

/// A batch, and what is known about it.
#[derive(Clone, Debug)]
pub struct LoadedBatch {
    /// The data.
    pub batch: HostBatch,
    /// The place right after this batch: a loader opened there yields the next one.
    pub position: Position,
    /// Where each row came from.
    pub records: Vec<RecordId>,
}

/// What a wait for a batch ended with.
#[allow(
    clippy::large_enum_variant,
    reason = "it is taken apart at once; a box would cost every batch an allocation"
)]
#[derive(Clone, Debug)]
pub enum Next {
    /// A batch.
    Batch(LoadedBatch),
    /// The stream has ended.
    End,
    /// The wait was not long enough.
    NotYet,
}

/// A stream of batches, made by background threads that wait when nobody takes them.
#[derive(Debug)]
pub struct Loader {
    /// The other end is held by the sequencer thread; `None` once the stream has ended.
    batches: Option<Receiver<Delivery>>,
    sequencer: Background,
    stats: Arc<Stats>,
}

impl Loader {
    /// Opens the stream of `config`, at its beginning or at `resume`.
    ///
    /// # Errors
    /// When the config, its schema, masks or files cannot be used. Damaged records show in [`Self::next_batch`].
    #[allow(
        clippy::needless_pass_by_value,
        reason = "options are made for one loader; callers write them in place"
    )]
    pub fn open(
        config: &RecapDataConfig,
        options: LoaderOptions,
        resume: Option<&Position>,
    ) -> Result<Self, DataError> {
        let (pipeline, spec) = prepare(config, &options)?;
        let pipeline = Arc::new(pipeline);
        let threads = num_threads(config, &options);
        let start = spec.start(resume);
        let cache = if spec.caches {
            Cache::open(config, options.local_world_size, pipeline.layout())?
        } else {
            Cache::Off
        };
        tracing::debug!(threads, "threads that inflate and decode");
        if let Some(asked) = config.map_num_parallel_calls.map(NumThreads::to_usize)
            && asked > threads
        {
            tracing::info!(
                "map_num_parallel_calls: {asked} threads were asked for, {threads} are started, as many as \
                this machine has use for"
            );
        }
        let stats = Arc::new(Stats::default());
        let workers = Workers::start(threads, &pipeline, spec.caches, &stats)?;
        let (output, batches) = sync_channel(BATCHES_AHEAD);
        let last_words = output.clone();
        let feed = Feed::new(&spec, cache, workers, output, Arc::clone(&stats));
        let sequencer = Sequencer::new(spec, start, feed);
        let body = move || {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| sequencer.run())) {
                drop(last_words.send(Err(panicked(panic.as_ref()))));
            }
        };
        let name = "data-sequencer".to_owned();
        let sequencer = Background::spawn(name.clone(), body);
        Ok(Self {
            batches: Some(batches),
            sequencer: sequencer.map_err(|error| DataError::Thread {
                thread: name,
                message: format!("cannot be started: {error}"),
            })?,
            stats,
        })
    }

    /// Finds whatever [`Self::open`] would refuse, without opening anything.
    ///
    /// # Errors
    /// Those of [`Self::open`], but for threads that the system refuses.
    pub fn check(config: &RecapDataConfig, options: &LoaderOptions) -> Result<(), DataError> {
        let (_, spec) = prepare(config, options)?;
        if spec.caches {
            cache::try_folder(config)?;
        }
        Ok(())
    }

    /// The next batch; `None` at the end, which a repeating loader does not have.
    ///
    /// # Errors
    /// The first bad record, unless `ignore_data_errors` is set. Afterwards the stream has ended.
    pub fn next_batch(&mut self) -> Result<Option<LoadedBatch>, DataError> {
        loop {
            match self.next_within(Duration::MAX)? {
                Next::Batch(batch) => return Ok(Some(batch)),
                Next::End => return Ok(None),
                Next::NotYet => {}
            }
        }
    }

    /// The next batch, if it comes within `patience`; a read may hang for ever.
    ///
    /// # Errors
    /// As for [`Self::next_batch`].
    pub fn next_within(&mut self, patience: Duration) -> Result<Next, DataError> {
        let Some(batches) = &self.batches else {
            return Ok(Next::End);
        };
        let waited = Instant::now();
        let delivery = batches.recv_timeout(patience);
        self.stats.waited_for_batch(waited.elapsed());
        match delivery {
            Ok(Ok(batch)) => Ok(Next::Batch(batch)),
            Ok(Err(error)) => {
                self.batches = None;
                Err(error)
            }
            Err(RecvTimeoutError::Timeout) => Ok(Next::NotYet),
            Err(RecvTimeoutError::Disconnected) => {
                self.batches = None;
                Ok(Next::End)
            }
        }
    }

    /// The counters, for a thread that does not have the loader.
    #[must_use]
    pub fn meter(&self) -> Meter {
        Meter(Arc::clone(&self.stats))
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.stats.counters()
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // Closing the channel ends the sequencer, which joins its workers; a panic has been delivered.
        self.batches = None;
        drop(self.sequencer.join());
    }
}

/// Everything about a stream that can be wrong before it is read.
fn prepare(
    config: &RecapDataConfig,
    options: &LoaderOptions,
) -> Result<(Pipeline, StreamSpec), DataError> {
    check(options)?;
    let mut pipeline = Pipeline::build(config, options.mode, options.world_size)?;
    if options.any_labels {
        pipeline.take_any_labels();
    }
    let spec = StreamSpec::new(config, options, pipeline.rows_to_read())?;
    let threads = num_threads(config, options);
    fit::check(&spec, pipeline.layout(), threads, options.local_world_size)?;
    Ok((pipeline, spec))
}

fn check(options: &LoaderOptions) -> Result<(), DataError> {
    if options.rank < options.world_size {
        return Ok(());
    }
    let reason = format!("rank {} of {} ranks", options.rank, options.world_size);
    Err(DataError::setting("world size", reason))
}

fn num_threads(config: &RecapDataConfig, options: &LoaderOptions) -> usize {
    let configured = config.map_num_parallel_calls.map(NumThreads::to_usize);
    let threads = options.threads.or(configured);
    let default = || machine::share_of_cores(options.local_world_size).min(MAX_DEFAULT_THREADS);
    let most = MIN_MAX_THREADS.max(MAX_THREADS_PER_CORE * machine::cores());
    threads.unwrap_or_else(default).clamp(1, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_one_machine_share_its_cores_unless_the_config_says_otherwise() {
        let threads = |yaml: &str, local_world_size: usize| {
            let text = format!(
                "{{global_batch_size: 4, inputs: a, seg_dense_schema: {{schema_path: s}}, tasks: {{t: {{}}}}{yaml}}}"
            );
            let config: RecapDataConfig = crate::config::parse(&text).unwrap();
            let options = LoaderOptions {
                seed: 0,
                rank: 0,
                world_size: local_world_size,
                local_world_size,
                any_labels: false,
                mode: Mode::Train,
                threads: None,
                in_order: false,
                repeat: true,
                drop_remainder: true,
            };
            num_threads(&config, &options)
        };
        assert_eq!(threads("", 1), machine::cores().min(MAX_DEFAULT_THREADS));
        let ranks = 2 * machine::cores();
        assert_eq!(threads("", 1000 * ranks), 1);
        let default = machine::share_of_cores(2).min(MAX_DEFAULT_THREADS);
        assert_eq!(threads("", 2), default);
        assert_eq!(threads(", map_num_parallel_calls: 3", ranks), 3);
        let most = threads(", map_num_parallel_calls: 4096", 1);
        assert_eq!(
            most,
            MIN_MAX_THREADS.max(MAX_THREADS_PER_CORE * machine::cores())
        );
    }
}
