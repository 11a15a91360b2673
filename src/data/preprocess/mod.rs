//! What happens to a batch between reading and training, one step per file, always in the same order: sampling
//! weights, downsample_negatives, (truncate_and_slice: done while reading), downcast, rectify_labels, extract_features.
//!
//! Every step runs once on an empty batch when the loader opens: a setting that cannot work fails there.

mod downcast;
mod downsample;
mod extract;
mod rectify;
mod rows;
mod truncate;
mod weights;

pub(super) use rows::Rows;
pub(super) use truncate::truncate_and_slice;

use super::error::DataError;
use crate::config::RecapDataConfig;

/// Rows to read for `rows` rows of a batch: more where negatives are dropped.
pub(super) fn rows_to_read(config: &RecapDataConfig, rows: usize) -> usize {
    let multiplier = downsample::config(config).map_or(1, downsample::batch_multiplier);
    rows.saturating_mul(multiplier)
}

/// Applies every configured step to `rows`, of which a batch keeps at most `batch`.
pub(super) fn apply(
    config: &RecapDataConfig,
    batch: usize,
    rows: &mut Rows,
) -> Result<(), DataError> {
    weights::add(&config.tasks, rows)?;
    let Some(preprocess) = &config.preprocess else {
        return Ok(());
    };
    if let Some(section) = &preprocess.downsample_negatives {
        downsample::apply(section, batch, rows)?;
    }
    if let Some(section) = &preprocess.downcast {
        downcast::apply(section, rows)?;
    }
    if let Some(section) = &preprocess.rectify_labels {
        rectify::apply(section, rows)?;
    }
    if let Some(section) = &preprocess.extract_features {
        extract::apply(section, rows)?;
    }
    Ok(())
}

/// Applies to `rows`, which have no labels, only the steps that shape features.
pub(super) fn shape_features(config: &RecapDataConfig, rows: &mut Rows) -> Result<(), DataError> {
    let Some(preprocess) = &config.preprocess else {
        return Ok(());
    };
    if let Some(section) = &preprocess.downcast {
        downcast::apply(section, rows)?;
    }
    if let Some(section) = &preprocess.extract_features {
        extract::apply(section, rows)?;
    }
    Ok(())
}
