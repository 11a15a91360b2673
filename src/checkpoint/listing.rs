//! The checkpoints in a folder: which are ours, which can be used, which is the newest.

use std::fs;
use std::path::{Path, PathBuf};

use tracing::{debug, warn};

use super::format::{BEST, MODEL_FILE, OPTIMIZER_FILE, STATE_FILE};
use super::regular::is_absence;
use super::{Checkpoint, CheckpointError};

/// A run that saves removes checkpoints while others look: how often a folder is listed at most.
const MAX_LISTINGS: usize = 5;

/// What a folder with the name of a checkpoint is.
#[derive(Debug)]
pub(super) enum Judged {
    /// One that is as it was written.
    Valid(Checkpoint),
    /// One of this program that has been read and cannot be used.
    Damaged(CheckpointError),
    /// A copy of the one of this global step, under the name of another.
    Misnamed(u64),
    /// Something else.
    Foreign,
}

/// Reads all of what may be a checkpoint.
///
/// # Errors
/// When it cannot be read, so that nobody knows what it is, or comes from a newer version.
pub(super) fn judge(folder: &Path) -> Result<Judged, CheckpointError> {
    let checked = Checkpoint::open(folder).and_then(|checkpoint| {
        checkpoint.verify()?;
        Ok(checkpoint)
    });
    match checked {
        Ok(checkpoint) if checkpoint.state().is_none() => Ok(Judged::Foreign),
        Ok(checkpoint) => Ok(match checkpoint.step_of_another_name() {
            Some(saved) => Judged::Misnamed(saved),
            None => Judged::Valid(checkpoint),
        }),
        Err(error) if error.is_damage() && looks_like_ours(folder)? => Ok(Judged::Damaged(error)),
        Err(error) if error.is_damage() => Ok(Judged::Foreign),
        Err(error) => Err(error),
    }
}

/// Whether this program wrote what stands at `path`, and no link leads elsewhere.
///
/// # Errors
/// When that cannot be found out.
pub(super) fn is_ours(path: &Path) -> Result<bool, CheckpointError> {
    Ok(is_there(path, fs::Metadata::is_dir)? && looks_like_ours(path)?)
}

/// Whether a folder has a `state.json` of ours, or one that is damaged beside tensors.
fn looks_like_ours(path: &Path) -> Result<bool, CheckpointError> {
    if !is_there(&path.join(STATE_FILE), |_| true)? {
        return Ok(false);
    }
    match Checkpoint::open(path) {
        Ok(_) | Err(CheckpointError::Newer { .. }) => Ok(true),
        Err(error) if error.is_damage() => {
            let is_file = |name| is_there(&path.join(name), |_| true);
            Ok(is_file(MODEL_FILE)? || is_file(OPTIMIZER_FILE)?)
        }
        Err(error) => Err(error),
    }
}

fn is_there(path: &Path, fits: impl Fn(&fs::Metadata) -> bool) -> Result<bool, CheckpointError> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(fits(&found)),
        Err(error) if is_absence(&error) => Ok(false),
        Err(error) => Err(CheckpointError::io("read", path)(error)),
    }
}

/// The newest checkpoint in a folder whose checksums hold; damaged newer ones are reported and passed over. Another run
/// may own the folder.
///
/// # Errors
/// When the folder cannot be listed, or a checkpoint that may be the newest cannot be read.
pub fn newest_valid(save_dir: &Path) -> Result<Option<Checkpoint>, CheckpointError> {
    for _ in 1..MAX_LISTINGS {
        let (newest, is_gone) = look_for_newest(save_dir)?;
        if newest.is_some() || !is_gone {
            return Ok(newest);
        }
    }
    Ok(look_for_newest(save_dir)?.0)
}

/// The same for one listing, and whether the run that owns the folder has removed some of it meanwhile.
fn look_for_newest(save_dir: &Path) -> Result<(Option<Checkpoint>, bool), CheckpointError> {
    let mut has_gone = false;
    for global_step in numbered(save_dir)?.into_iter().rev() {
        let folder = save_dir.join(global_step.to_string());
        match judge(&folder) {
            Ok(Judged::Valid(checkpoint)) => return Ok((Some(checkpoint), has_gone)),
            // A newer one is there then.
            _ if is_gone(&folder) => has_gone = true,
            Ok(Judged::Damaged(error)) => {
                warn!(checkpoint = %folder.display(), %error, "passed over: it is damaged");
            }
            Ok(Judged::Misnamed(saved)) => warn!(
                checkpoint = %folder.display(),
                saved,
                "passed over: it was saved at another step than its name says, and copied or renamed"
            ),
            Ok(Judged::Foreign) if folder.join(MODEL_FILE).exists() => {
                warn!(checkpoint = %folder.display(), "passed over: it has no state.json of this program");
            }
            Ok(Judged::Foreign) => debug!(path = %folder.display(), "no checkpoint"),
            Err(error @ CheckpointError::Newer { .. }) => return Err(error),
            Err(error) => {
                return Err(CheckpointError::Unreadable {
                    folder,
                    source: Box::new(error),
                });
            }
        }
    }
    Ok((None, has_gone))
}

fn is_gone(folder: &Path) -> bool {
    matches!(fs::symlink_metadata(folder), Err(error) if is_absence(&error))
}

/// The global steps of the checkpoints in a folder, ascending: folders that have a `state.json`, or that hide it.
///
/// # Errors
/// When the folder cannot be listed.
pub fn global_steps(save_dir: &Path) -> Result<Vec<u64>, CheckpointError> {
    let mut steps = numbered(save_dir)?;
    steps.retain(|step| {
        let path = save_dir.join(step.to_string()).join(STATE_FILE);
        is_there(&path, |_| true).unwrap_or(true)
    });
    Ok(steps)
}

/// The folders in `save_dir` that have a step for a name, ascending.
pub(super) fn numbered(save_dir: &Path) -> Result<Vec<u64>, CheckpointError> {
    let names = entries(save_dir)?;
    let mut steps: Vec<u64> = names.iter().filter_map(|name| step_of(name)).collect();
    // A file of such a name is nobody's checkpoint; what cannot be looked at may be one.
    let may_be =
        |path: PathBuf| fs::metadata(path).map_or_else(|e| !is_absence(&e), |m| m.is_dir());
    steps.retain(|step| may_be(save_dir.join(step.to_string())));
    steps.sort_unstable();
    Ok(steps)
}

/// Only names as this program writes them: `7`, never `07` or `7.old`.
fn step_of(name: &str) -> Option<u64> {
    let step = name.parse::<u64>().ok()?;
    (step.to_string() == name).then_some(step)
}

/// Whether a checkpoint may be called `name`.
pub(super) fn is_checkpoint_name(name: &str) -> bool {
    name == BEST || step_of(name).is_some()
}

/// The names in a folder, as far as they are text.
pub(super) fn entries(folder: &Path) -> Result<Vec<String>, CheckpointError> {
    let listed = fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let listed = listed.map_err(CheckpointError::io("list", folder))?;
    let names = listed.into_iter().map(|entry| entry.file_name());
    Ok(names.filter_map(|name| name.into_string().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::super::Manager;
    use super::super::test_support::save;
    use super::*;

    #[test]
    fn a_copy_under_another_name_is_not_the_newest_and_does_not_count_as_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut manager = Manager::open(dir.path(), None).unwrap();
        save(&mut manager, &[1, 2]);
        drop(manager);
        fs::rename(dir.path().join("1"), dir.path().join("20261129")).unwrap();
        let newest = newest_valid(dir.path()).unwrap().unwrap();
        assert_eq!(newest.folder(), dir.path().join("2"));
        let mut manager = Manager::open(dir.path(), Some(1)).unwrap();
        save(&mut manager, &[3]);
        assert!(dir.path().join("20261129").exists() && !dir.path().join("2").exists());
        assert_eq!(
            manager.newest_valid().unwrap().unwrap().folder(),
            dir.path().join("3")
        );
    }

    #[test]
    fn a_damaged_newest_gives_way_to_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut manager = Manager::open(dir.path(), None).unwrap();
        save(&mut manager, &[1, 2, 3]);
        fs::write(dir.path().join("3").join(MODEL_FILE), "rubbish").unwrap();
        fs::remove_file(dir.path().join("2").join(STATE_FILE)).unwrap();
        assert_eq!(
            manager.newest_valid().unwrap().unwrap().folder(),
            dir.path().join("1")
        );
    }

    #[test]
    fn a_checkpoint_that_cannot_be_read_ends_the_search() {
        let dir = tempfile::tempdir().unwrap();
        let mut manager = Manager::open(dir.path(), None).unwrap();
        save(&mut manager, &[1, 2]);
        // Links in a circle, since root may read everything else.
        let path = dir.path().join("2").join(OPTIMIZER_FILE);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(OPTIMIZER_FILE, &path).unwrap();
        let error = manager.newest_valid().unwrap_err();
        assert!(
            matches!(error, CheckpointError::Unreadable { .. }),
            "{error}"
        );
        fs::remove_file(&path).unwrap();
        let missing = manager.newest_valid().unwrap().unwrap();
        assert_eq!(missing.folder(), dir.path().join("1"));
    }

    #[test]
    fn a_newer_format_ends_the_search() {
        let dir = tempfile::tempdir().unwrap();
        let mut manager = Manager::open(dir.path(), Some(1)).unwrap();
        save(&mut manager, &[1, 2]);
        let path = dir.path().join("2").join(STATE_FILE);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replacen("\"format\": 2", "\"format\": 9", 1)).unwrap();
        assert!(matches!(
            manager.newest_valid(),
            Err(CheckpointError::Newer { format: 9, .. })
        ));
        save(&mut manager, &[1]);
        assert!(dir.path().join("2").exists());
    }
}
