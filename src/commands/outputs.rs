//! Where commands may write: not over what a run has saved.

use std::path::Path;

use crate::checkpoint::RECORD_FILE;
use crate::checkpoint::format::STATE_FILE;
use crate::cli::UsageError;
use crate::logging::events::FILE as EVENTS_FILE;

/// Refuses `path` where a file of a checkpoint, or of a run's own, would be replaced.
///
/// # Errors
/// When it would.
pub(super) fn refuse_saved(path: &Path) -> Result<(), UsageError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let what = if folder.join(STATE_FILE).exists() {
        "it lies in a checkpoint"
    } else if [RECORD_FILE, EVENTS_FILE]
        .iter()
        .any(|name| path.ends_with(name))
        && path.exists()
    {
        "it is a file that a training goes on with"
    } else {
        return Ok(());
    };
    Err(UsageError(format!(
        "{}: {what}, which would be lost: name another file to write",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_run_are_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("12")).unwrap();
        for name in ["12/state.json", EVENTS_FILE, RECORD_FILE] {
            std::fs::write(path(name), "{}").unwrap();
        }
        for refused in [
            "12/model.safetensors",
            "12/new.csv",
            EVENTS_FILE,
            RECORD_FILE,
        ] {
            let error = refuse_saved(&path(refused)).unwrap_err();
            assert!(error.to_string().contains(refused), "{error}");
        }
        for allowed in ["predictions.csv", "new/events.jsonl"] {
            refuse_saved(&path(allowed)).unwrap();
        }
    }
}
