//! What defines a stream of batches, and whether a position is one of it.

use std::path::Path;
use std::sync::Arc;

use super::draw::{Draw, Purpose};
use super::epoch::FileOrder;
use super::error::DataError;
use super::files;
use super::loader::LoaderOptions;
use super::position::{Position, Snapshot};
use super::source;
use crate::config::{NumOpenFiles, RecapDataConfig};

/// Files open at once, unless the config says otherwise. Not taken from the cores: the order depends on it.
const DEFAULT_INTERLEAVE: usize = 16;

/// What defines a stream of batches.
#[derive(Clone, Debug)]
pub(crate) struct StreamSpec {
    pub(crate) files: Vec<Arc<Path>>,
    pub(crate) order: FileOrder,
    /// Files open at once, of those that there are.
    pub(crate) interleave: usize,
    /// The same as it was asked for: part of what a position depends on.
    pub(crate) interleave_asked: usize,
    /// Records in the shuffle.
    pub(crate) window: u64,
    pub(crate) skip_damaged: bool,
    pub(crate) repeat: bool,
    /// Leave out the rows at the end that fill no whole batch.
    pub(crate) drop_remainder: bool,
    /// Decoded rows are kept for the next epoch, if there is one.
    pub(crate) caches: bool,
    /// Rows read into one batch.
    pub(crate) rows: usize,
    /// The same for two streams only if a position of one is good for the other.
    pub(crate) fingerprint: u64,
}

impl StreamSpec {
    /// The stream that `config` and `options` describe, in batches of `rows` rows.
    pub(crate) fn new(
        config: &RecapDataConfig,
        options: &LoaderOptions,
        rows: usize,
    ) -> Result<Self, DataError> {
        let width = config.interleave_num_parallel_calls;
        let width = width.map(NumOpenFiles::to_usize);
        let window = u64::try_from(config.examples_shuffle_buffer_size).unwrap_or(0);
        let asked = if options.in_order {
            1
        } else {
            width.unwrap_or(DEFAULT_INTERLEAVE)
        };
        let files = files::list(config)?;
        let interleave = asked.min(files.len()).max(1);
        if width.is_some() && interleave < asked {
            tracing::info!(
                "interleave_num_parallel_calls: {asked} files were to be open at once, and there are {interleave}"
            );
        }
        let mut spec = Self {
            files,
            order: FileOrder {
                seed: options.seed,
                is_sorted: options.in_order,
                rank: options.rank,
                world_size: options.world_size,
            },
            interleave,
            interleave_asked: asked,
            window: if options.in_order { 1 } else { window.max(1) },
            skip_damaged: config.ignore_data_errors,
            repeat: options.repeat && !options.in_order,
            drop_remainder: options.drop_remainder,
            caches: config.cache && options.repeat && !options.in_order,
            rows,
            fingerprint: 0,
        };
        let sizes = spec.files.iter().map(|file| source::size(file));
        let sizes = sizes.collect::<Result<Vec<u64>, _>>()?;
        report_empty(&spec.files, &sizes, spec.repeat)?;
        spec.fingerprint = spec.fingerprint(&sizes);
        Ok(spec)
    }

    /// Of everything that a position depends on. The folder of the files does not count.
    fn fingerprint(&self, sizes: &[u64]) -> u64 {
        let order = &self.order;
        let mut sum = Draw::new(order.seed, Purpose::FileOrder);
        let numbers = [
            order.rank as u64,
            order.world_size as u64,
            u64::from(order.is_sorted),
            self.interleave_asked as u64,
            self.window,
            u64::from(self.skip_damaged),
        ];
        for number in numbers {
            sum = sum.at(number);
        }
        for (file, &size) in self.files.iter().zip(sizes) {
            sum = sum.at(size);
            let name = file.file_name().unwrap_or_default().as_encoded_bytes();
            sum = name.iter().fold(sum, |sum, &byte| sum.at(u64::from(byte)));
        }
        sum.bits()
    }

    /// Where to start: at `resume` if it is of this stream, else at the beginning of its epoch.
    pub(crate) fn start(&self, resume: Option<&Position>) -> Position {
        let stream = self.fingerprint;
        match resume {
            Some(position) if position.stream == stream => position.clone(),
            other => {
                if let Some(position) = other {
                    tracing::warn!(
                        epoch = position.epoch,
                        "the data position is of other files, ranks or settings: \
                        the epoch begins anew"
                    );
                }
                let (epoch, batches, records) =
                    other.map_or((0, 0, 0), |p| (p.epoch, p.batches, p.records));
                let open = vec![None; self.interleave.max(1)];
                Position {
                    stream,
                    epoch,
                    batches,
                    records,
                    last: None,
                    snapshot: Snapshot {
                        open,
                        ..Snapshot::default()
                    },
                }
            }
        }
    }
}

/// How many of `files` have no byte, which some writers leave where a part had no rows, and some copies where they
/// failed, and one of these.
///
/// # Errors
/// When all are: nothing can be trained on those alone.
pub(crate) fn refuse_empty<'a>(
    files: &'a [Arc<Path>],
    sizes: &[u64],
) -> Result<Option<(usize, &'a Path)>, DataError> {
    let is_empty = |&(_, size): &(&Arc<Path>, &u64)| *size == 0;
    let mut empty = files.iter().zip(sizes).filter(is_empty);
    let Some((first, _)) = empty.next() else {
        return Ok(None);
    };
    let count = 1 + empty.count();
    if count == files.len() {
        return Err(DataError::Empty {
            count,
            first: first.to_path_buf(),
        });
    }
    Ok(Some((count, first)))
}

/// Warns of files without a byte; of those alone a training is refused.
fn report_empty(files: &[Arc<Path>], sizes: &[u64], is_training: bool) -> Result<(), DataError> {
    let (count, first) = match refuse_empty(files, sizes) {
        Ok(None) => return Ok(()),
        Ok(Some(found)) => found,
        Err(DataError::Empty { count, .. }) if !is_training => (count, &*files[0]),
        Err(error) => return Err(error),
    };
    tracing::warn!(count, of = files.len(), first = %first.display(), "data files are empty (0 bytes)");
    Ok(())
}
