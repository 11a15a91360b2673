//! Computes the statistics that `z_score_log_config` needs, over every row that is trained on.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use tch::Device;
use tracing::info;

use crate::cli::UsageError;
use crate::config::RecapConfig;
use crate::data::{Loader, LoaderOptions, Mode};
use crate::model::LogMoments;
use crate::torch::batch::Batch;

/// Reads `train_data` once, as training would see it, and writes the file: `chosen`, or the one that the config names.
///
/// # Errors
/// When no file is named, the data cannot be read, or the file cannot be written.
pub(super) fn write(config: &RecapConfig, chosen: Option<&Path>) -> anyhow::Result<()> {
    let path = chosen.map(PathBuf::from).or_else(|| path_in(config));
    let path = path.ok_or_else(|| {
        let usage = "the config has no z_score_log_config.analysis_path: say --write_stats=FILE";
        UsageError(usage.to_owned())
    })?;
    let begin = Instant::now();
    let options = LoaderOptions {
        seed: 0,
        rank: 0,
        world_size: 1,
        local_world_size: 1,
        any_labels: false,
        mode: Mode::Train,
        threads: None,
        in_order: true,
        repeat: false,
        drop_remainder: false,
    };
    let mut loader = Loader::open(&config.train_data, options, None).context("train_data")?;
    let mut moments = LogMoments::default();
    let mut rows = 0;
    while let Some(next) = loader.next_batch().context("train_data")? {
        rows += next.batch.rows;
        moments.add(&Batch::from_host(&next.batch, Device::Cpu)?.continuous)?;
    }
    let statistics = moments.finish()?.context("train_data has no rows")?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    statistics.write(&path)?;
    let (columns, seconds) = (statistics.mean.len(), begin.elapsed().as_secs_f64());
    info!(rows, columns, seconds, path = %path.display(), "wrote statistics");
    Ok(())
}

fn path_in(config: &RecapConfig) -> Option<PathBuf> {
    let features = config.model.featurization_config.as_ref()?;
    let z_score = features.z_score_log_config.as_ref()?;
    Some(PathBuf::from(&z_score.analysis_path))
}
