//! Which checkpoints stay: the newest valid ones, as many as are to be kept.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::CheckpointError;
use super::format::{MODEL_FILE, OPTIMIZER_FILE, STATE_FILE};
use super::listing::{self, Judged};
use super::publish::{self, twice};

/// Tells whether the files of a checkpoint have been touched: of each its number, size and time of change.
type Fingerprint = [Option<(u64, u64, i64, i64)>; 3];

/// Removes the oldest checkpoints of one folder. Only folders of this program are ever removed; only valid ones count as
/// kept. What has been verified once is looked at again only when its files have been touched.
#[derive(Debug)]
pub(super) struct Retention {
    save_dir: PathBuf,
    /// How many checkpoints to keep; `None` keeps all.
    max_to_keep: Option<u64>,
    /// Whether a checkpoint was valid, and how its files looked then.
    known: BTreeMap<u64, (Fingerprint, bool)>,
    /// What has been complained of, once each.
    said: HashSet<u64>,
}

impl Retention {
    pub(super) fn new(save_dir: &Path, max_to_keep: Option<u64>) -> Self {
        Self {
            save_dir: save_dir.to_owned(),
            max_to_keep,
            known: BTreeMap::new(),
            said: HashSet::new(),
        }
    }

    /// Takes note of a checkpoint that has just been written, or verified.
    pub(super) fn note_valid(&mut self, global_step: u64) {
        let found = fingerprint(&self.folder(global_step));
        self.known.insert(global_step, (found, true));
    }

    /// Removes what is older than the newest valid checkpoints up to that of `newest`, which always stays. Damaged ones
    /// among those stay until they are older too. What cannot be told or removed is a warning: the save that came before
    /// this is good.
    pub(super) fn retire(&mut self, newest: u64) {
        let Some(keep) = self.max_to_keep else {
            return;
        };
        let steps = match twice(|| listing::global_steps(&self.save_dir)) {
            Ok(steps) => steps,
            Err(error) => {
                warn!(
                    error = describe(&error),
                    "old checkpoints stay: their folder cannot be listed"
                );
                return;
            }
        };
        publish::discard_leftovers(&self.save_dir);
        self.known.retain(|step, _| steps.contains(step));
        let candidates: Vec<u64> = steps.into_iter().filter(|step| *step <= newest).collect();
        if candidates.len() as u64 <= keep {
            return;
        }
        let mut kept = 0;
        for global_step in candidates.into_iter().rev() {
            if kept >= keep {
                self.remove(global_step);
            } else if global_step == newest || self.counts(global_step) {
                kept += 1;
            }
        }
    }

    /// Whether the checkpoint is valid.
    fn counts(&mut self, global_step: u64) -> bool {
        let folder = self.folder(global_step);
        let found = fingerprint(&folder);
        if let Some((known, valid)) = self.known.get(&global_step)
            && *known == found
        {
            return *valid;
        }
        match listing::judge(&folder) {
            // The one who has linked it here decides how long it stays.
            Ok(Judged::Valid(_)) if folder.is_symlink() => false,
            Ok(Judged::Valid(_)) => {
                self.known.insert(global_step, (found, true));
                true
            }
            Ok(Judged::Damaged(error)) => {
                self.known.insert(global_step, (found, false));
                self.say(
                    global_step,
                    &error,
                    "damaged: it does not count as a checkpoint that is kept",
                );
                false
            }
            Ok(Judged::Misnamed(_) | Judged::Foreign) => false,
            Err(error) => {
                self.say(global_step, &error, "it cannot be told whether this checkpoint is good: it stays, and does not count as kept");
                false
            }
        }
    }

    fn remove(&mut self, global_step: u64) {
        let removed = match twice(|| listing::is_ours(&self.folder(global_step))) {
            Ok(true) => publish::discard(&self.save_dir, &global_step.to_string()),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            self.say(global_step, &error, "this old checkpoint cannot be removed");
        }
    }

    fn say(&mut self, global_step: u64, error: &CheckpointError, message: &str) {
        if self.said.insert(global_step) {
            let checkpoint = self.folder(global_step);
            warn!(checkpoint = %checkpoint.display(), error = describe(error), "{message}");
        }
    }

    fn folder(&self, global_step: u64) -> PathBuf {
        self.save_dir.join(global_step.to_string())
    }
}

/// An error with its causes, in one line.
fn describe(error: &CheckpointError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn fingerprint(folder: &Path) -> Fingerprint {
    [STATE_FILE, MODEL_FILE, OPTIMIZER_FILE].map(|name| {
        let found = fs::metadata(folder.join(name)).ok()?;
        Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
    })
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{damage, save};
    use super::super::{Checkpoint, Manager, format, global_steps};
    use super::*;

    #[test]
    fn keeps_the_newest_by_number_not_by_text() {
        let dir = tempfile::tempdir().unwrap();
        let mut manager = Manager::open(dir.path(), Some(2)).unwrap();
        save(&mut manager, &[8, 9, 10]);
        assert_eq!(global_steps(dir.path()).unwrap(), [9, 10]);
        assert_eq!(
            manager.newest_valid().unwrap().unwrap().folder(),
            dir.path().join("10")
        );
    }

    #[test]
    fn damaged_checkpoints_do_not_count_and_the_one_just_saved_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mut manager = Manager::open(dir.path(), None).unwrap();
        save(&mut manager, &[1, 2, 3, 20]);
        drop(manager);
        damage(&dir.path().join("3"));
        damage(&dir.path().join("20"));
        let mut manager = Manager::open(dir.path(), Some(2)).unwrap();
        assert_eq!(
            manager.newest_valid().unwrap().unwrap().folder(),
            dir.path().join("2")
        );
        save(&mut manager, &[4]);
        // 4 and 2 are the two valid ones; 3 lies between them, 20 is newer than what was saved.
        assert_eq!(global_steps(dir.path()).unwrap(), [2, 3, 4, 20]);
        save(&mut manager, &[5, 6]);
        assert_eq!(global_steps(dir.path()).unwrap(), [5, 6, 20]);
        save(&mut manager, &[20]);
        assert_eq!(global_steps(dir.path()).unwrap(), [6, 20]);
        Checkpoint::open(&dir.path().join("20"))
            .and_then(|checkpoint| checkpoint.verify())
            .unwrap();
    }

    #[test]
    fn what_is_not_ours_is_neither_counted_nor_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["1", "4", "20261128"] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("notes.txt"), "mine").unwrap();
        }
        fs::write(path("4/state.json"), r#"{"version": 4}"#).unwrap();
        fs::write(path("3"), "a file").unwrap();
        std::os::unix::fs::symlink(path("1"), path("2")).unwrap();
        let mut manager = Manager::open(dir.path(), Some(1)).unwrap();
        assert!(manager.newest_valid().unwrap().is_none());
        save(&mut manager, &[5, 6, 7]);
        for name in ["1", "4", "20261128"] {
            assert_eq!(fs::read(path(name).join("notes.txt")).unwrap(), b"mine");
        }
        assert!(path("3").is_file() && path("2").is_symlink());
        assert_eq!(global_steps(dir.path()).unwrap(), [4, 7]);
    }

    #[test]
    fn a_checkpoint_that_was_touched_is_verified_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut manager = Manager::open(dir.path(), Some(2)).unwrap();
        save(&mut manager, &[1, 2]);
        let path = dir.path().join("2").join(format::MODEL_FILE);
        fs::write(path, "cut").unwrap();
        save(&mut manager, &[3]);
        assert_eq!(global_steps(dir.path()).unwrap(), [1, 2, 3]);
    }

    #[test]
    fn what_a_kill_left_beyond_the_number_to_keep_is_removed_without_a_save() {
        let dir = tempfile::tempdir().unwrap();
        let mut manager = Manager::open(dir.path(), None).unwrap();
        save(&mut manager, &[1, 2, 3]);
        drop(manager);
        let manager = Manager::open(dir.path(), Some(1)).unwrap();
        let newest = manager.newest_valid().unwrap().unwrap();
        manager.retire(&newest);
        assert_eq!(global_steps(dir.path()).unwrap(), [3]);
    }

    #[test]
    fn an_old_one_that_cannot_be_removed_does_not_fail_the_save() {
        let dir = tempfile::tempdir().unwrap();
        let mut manager = Manager::open(dir.path(), Some(1)).unwrap();
        save(&mut manager, &[1]);
        // A file where the old one is to be moved to: it stays.
        fs::write(dir.path().join(".deleting-1"), "in the way").unwrap();
        save(&mut manager, &[2, 3]);
        assert_eq!(global_steps(dir.path()).unwrap(), [1, 3]);
    }
}
