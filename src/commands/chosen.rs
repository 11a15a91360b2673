//! The checkpoint that a command works on: the one named, or the newest of the run.

use std::path::{Path, PathBuf};

use crate::checkpoint::newest_valid;
use crate::cli::UsageError;
use crate::config::RecapConfig;

/// The folder `named`, or that of the newest valid checkpoint in `training.save_dir`.
///
/// # Errors
/// When there is no checkpoint.
pub(super) fn checkpoint(config: &RecapConfig, named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(folder) = named {
        return Ok(folder.to_owned());
    }
    let save_dir = Path::new(&config.training.save_dir);
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
