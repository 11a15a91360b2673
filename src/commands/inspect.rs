//! Shows and writes the batches of the training data, exactly as training would see them.

mod summary;
mod tensors;

use std::io::Write;

use anyhow::Context;
use tracing::{info, warn};

use self::summary::Summary;
use super::outputs;
use crate::cli::InspectArgs;
use crate::config::RecapConfig;
use crate::data::{LoadedBatch, Loader, LoaderOptions, Mode};
use crate::printable;

/// Decodes batches, prints what is in them, and writes them if asked to.
///
/// # Errors
/// When the data cannot be read or the output cannot be written.
pub(super) fn run(config: &RecapConfig, args: &InspectArgs) -> anyhow::Result<()> {
    if let Some(path) = &args.output {
        outputs::refuse_saved(path)?;
    }
    let options = LoaderOptions {
        seed: config.training.seed.cast_unsigned(),
        rank: 0,
        world_size: 1,
        local_world_size: 1,
        any_labels: true,
        mode: Mode::Train,
        threads: None,
        in_order: args.in_order,
        repeat: true,
        drop_remainder: true,
    };
    let mut loader = Loader::open(&config.train_data, options, None).context("train_data")?;
    let mut summary = Summary::default();
    // Kept only to be written: a file of tensors begins with the sizes of all of them.
    let mut kept: Vec<LoadedBatch> = Vec::new();
    let mut count = 0;
    while count < args.batches
        && let Some(loaded) = loader.next_batch().context("train_data")?
    {
        summary.add(&loaded.batch);
        if args.output.is_some() {
            kept.push(loaded);
        }
        count += 1;
    }
    if count < args.batches {
        warn!(
            asked = args.batches,
            found = count,
            "the data ended before the last batch that was asked for"
        );
    }
    let counters = loader.counters();
    info!(
        batches = count,
        records_read = counters.records,
        bytes = counters.bytes,
        skipped = counters.skipped,
        waited_s = counters.consumer_wait.as_secs_f64(),
        "decoded"
    );
    write!(printable::stdout(), "{summary}")?;
    if let Some(path) = &args.output {
        tensors::write(path, kept.iter().map(|loaded| &loaded.batch))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
