//! The checkpoint that a command works on: the one named, or the best of the run, or its newest.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::checkpoint::format::BEST;
use crate::checkpoint::{Checkpoint, CheckpointError, newest_valid};
use crate::cli::UsageError;
use crate::config::RecapConfig;

/// The folder `named`, or in `training.save_dir` that of the best checkpoint where `training.keep_best_metric` keeps
/// one, else of the newest valid one.
///
/// # Errors
/// When there is no checkpoint, or the one that would be chosen cannot be read.
pub(super) fn checkpoint(config: &RecapConfig, named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(folder) = named {
        return Ok(folder.to_owned());
    }
    let save_dir = Path::new(&config.training.save_dir);
    let best = save_dir.join(BEST);
    if config.training.keep_best_metric.is_some() && is_there(&best) {
        match is_valid(&best) {
            Ok(()) => return Ok(best),
            Err(error) if error.is_damage() => {
                warn!("passing over the best checkpoint for the newest: {error}");
            }
            Err(error @ CheckpointError::Newer { .. }) => return Err(error.into()),
            // It may be whole: another model would answer for it.
            Err(error) => {
                return Err(CheckpointError::Unreadable {
                    folder: best,
                    source: Box::new(error),
                }
                .into());
            }
        }
    }
    // A folder that cannot be looked at is listed, to say why.
    let newest = match save_dir.try_exists() {
        Ok(false) => None,
        _ => newest_valid(save_dir)?,
    };
    newest.map(|checkpoint| checkpoint.folder().to_owned()).ok_or_else(|| {
        let save_dir = save_dir.display();
        UsageError(format!("no valid checkpoint in training.save_dir {save_dir}: train first, or name one with --checkpoint"))
            .into()
    })
}

/// Whether there is something, be it only what cannot be looked at.
fn is_there(path: &Path) -> bool {
    !matches!(std::fs::symlink_metadata(path), Err(error) if error.kind() == ErrorKind::NotFound)
}

fn is_valid(folder: &Path) -> Result<(), CheckpointError> {
    Checkpoint::open(folder)?.verify()
}
