//! The checkpoints of one run: the lock on its folder, writing in the background, retention, the newest valid one.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use tracing::{info, warn};

use super::CheckpointError;
use super::format::{self, Checkpoint, Snapshot, Staged};

const LOCK_FILE: &str = ".lock";

/// The folder of the checkpoint that was best by some metric.
pub const BEST: &str = "best";

/// Owns `save_dir` for as long as it lives.
#[derive(Debug)]
pub struct Manager {
    save_dir: PathBuf,
    /// How many checkpoints to keep; `None` keeps all.
    max_to_keep: Option<u64>,
    /// The save that may still be under way; its thread ends with the folder or the error.
    writer: Option<JoinHandle<Result<PathBuf, CheckpointError>>>,
    /// Held for the system to see; released when the process ends in whatever way.
    _lock: File,
}

impl Manager {
    /// Creates `save_dir` if need be, locks it, tries that it can be written, and clears what a killed run left.
    ///
    /// # Errors
    /// When the folder cannot be created or written, or another run holds it.
    pub fn open(save_dir: &Path, max_to_keep: Option<u64>) -> Result<Self, CheckpointError> {
        fs::create_dir_all(save_dir).map_err(CheckpointError::io("create", save_dir))?;
        let path = save_dir.join(LOCK_FILE);
        let lock = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&path);
        let lock = lock.map_err(CheckpointError::io("write to", save_dir))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(CheckpointError::Locked {
                    path: save_dir.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => {
                return Err(CheckpointError::io("lock", path)(source));
            }
        }
        let manager = Self {
            save_dir: save_dir.to_owned(),
            max_to_keep,
            writer: None,
            _lock: lock,
        };
        manager.clear_leftovers()?;
        Ok(manager)
    }

    /// Removes what a run that was killed in the middle of a save left behind.
    fn clear_leftovers(&self) -> Result<(), CheckpointError> {
        // Replacing the best checkpoint has a moment without one: killed there, the one before is still whole.
        let (best, replaced) = (BEST.to_owned(), format!(".deleting-{BEST}"));
        let [best, replaced] = [best, replaced].map(|name| self.save_dir.join(name));
        if replaced.exists() && !best.exists() {
            fs::rename(&replaced, &best).map_err(CheckpointError::io("restore", &best))?;
        }
        for name in entries(&self.save_dir)? {
            if name.starts_with(".writing-") || name.starts_with(".deleting-") {
                let path = self.save_dir.join(&name);
                fs::remove_dir_all(&path).map_err(CheckpointError::io("remove", &path))?;
                info!(folder = name, "removed what an interrupted save left");
            }
        }
        Ok(())
    }

    /// The newest checkpoint whose checksums hold; damaged newer ones are reported and passed over.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn newest_valid(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        newest_valid(&self.save_dir)
    }

    /// Saves `snapshot`, in the background as far as it can be. If the save before is still under way, says so and
    /// waits for it.
    ///
    /// Tensors that train are written to the system's file cache first, which takes as long as a copy would and needs
    /// no memory of this process; copies are written by the background thread. Both are then flushed there.
    ///
    /// # Errors
    /// When this save or the one before fails, or no thread can be started.
    pub fn save(&mut self, snapshot: Snapshot) -> Result<(), CheckpointError> {
        let max_to_keep = self.max_to_keep;
        let name = snapshot.global_step.to_string();
        self.save_as(name, snapshot, move |save_dir| {
            retire(save_dir, max_to_keep)
        })
    }

    /// Saves `snapshot` as the best checkpoint, in place of the one before. It does not count as one of those to keep.
    ///
    /// # Errors
    /// As for [`Self::save`].
    pub fn save_best(&mut self, snapshot: Snapshot) -> Result<(), CheckpointError> {
        self.save_as(BEST.to_owned(), snapshot, |_| Ok(()))
    }

    fn save_as(
        &mut self,
        name: String,
        snapshot: Snapshot,
        then: impl FnOnce(&Path) -> Result<(), CheckpointError> + Send + 'static,
    ) -> Result<(), CheckpointError> {
        if self.is_saving() {
            warn!(
                "the previous checkpoint is still being written: training waits; checkpoint less often, or to a faster disk"
            );
        }
        self.wait()?;
        if snapshot.is_copy {
            let save_dir = self.save_dir.clone();
            self.publish(move || format::stage_as(&save_dir, name, snapshot), then)
        } else {
            let staged = format::stage_as(&self.save_dir, name, snapshot)?;
            self.publish(move || Ok(staged), then)
        }
    }

    /// Starts the thread that publishes what `stage` gives it, and does what comes `then`.
    fn publish(
        &mut self,
        stage: impl FnOnce() -> Result<Staged, CheckpointError> + Send + 'static,
        then: impl FnOnce(&Path) -> Result<(), CheckpointError> + Send + 'static,
    ) -> Result<(), CheckpointError> {
        let save_dir = self.save_dir.clone();
        let write = move || {
            let folder = stage()?.publish()?;
            info!(name: "saved", checkpoint = %folder.display(), "saved");
            then(&save_dir)?;
            Ok(folder)
        };
        let thread = std::thread::Builder::new().name("checkpoint".to_owned());
        let thread = thread.spawn(write);
        self.writer =
            Some(thread.map_err(CheckpointError::io("start the writer for", &self.save_dir))?);
        Ok(())
    }

    /// Reports a background save that has failed; returns at once.
    ///
    /// # Errors
    /// The failure.
    pub fn check(&mut self) -> Result<(), CheckpointError> {
        if self.is_saving() {
            return Ok(());
        }
        self.wait().map(|_| ())
    }

    /// Waits until the last save is on the disk.
    ///
    /// # Errors
    /// When it failed; earlier checkpoints are as they were.
    pub fn wait(&mut self) -> Result<Option<PathBuf>, CheckpointError> {
        let Some(writer) = self.writer.take() else {
            return Ok(None);
        };
        writer
            .join()
            .map_err(|_| CheckpointError::WriterPanicked)?
            .map(Some)
    }

    /// Whether a save is under way.
    #[must_use]
    pub fn is_saving(&self) -> bool {
        self.writer
            .as_ref()
            .is_some_and(|writer| !writer.is_finished())
    }

    /// The folder this run owns.
    #[must_use]
    pub fn save_dir(&self) -> &Path {
        &self.save_dir
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Err(error) = self.wait() {
            warn!(%error, "the last checkpoint was not saved");
        }
    }
}

/// The newest checkpoint in a folder whose checksums hold; damaged newer ones are reported and passed over. Another run
/// may own the folder.
///
/// # Errors
/// When the folder cannot be listed.
pub fn newest_valid(save_dir: &Path) -> Result<Option<Checkpoint>, CheckpointError> {
    for global_step in global_steps(save_dir)?.into_iter().rev() {
        let folder = save_dir.join(global_step.to_string());
        let checked = Checkpoint::open(&folder).and_then(|checkpoint| {
            checkpoint.verify()?;
            Ok(checkpoint)
        });
        match checked {
            Ok(checkpoint) if checkpoint.state().is_some() => return Ok(Some(checkpoint)),
            Ok(_) => warn!(checkpoint = %folder.display(), "passed over: it has no state.json"),
            Err(error) => {
                warn!(checkpoint = %folder.display(), %error, "passed over: it is damaged")
            }
        }
    }
    Ok(None)
}

/// Removes the oldest checkpoints beyond `max_to_keep`.
fn retire(save_dir: &Path, max_to_keep: Option<u64>) -> Result<(), CheckpointError> {
    let Some(keep) = max_to_keep.and_then(|keep| usize::try_from(keep).ok()) else {
        return Ok(());
    };
    let steps = global_steps(save_dir)?;
    let surplus = steps.len().saturating_sub(keep);
    for global_step in &steps[..surplus] {
        format::discard(save_dir, &save_dir.join(global_step.to_string()))?;
    }
    Ok(())
}

/// The global steps of the checkpoints in a folder, ascending.
///
/// # Errors
/// When the folder cannot be listed.
pub fn global_steps(save_dir: &Path) -> Result<Vec<u64>, CheckpointError> {
    // Only names as this program writes them: `7`, never `07` or `7.old`.
    let step = |name: &String| {
        name.parse::<u64>()
            .ok()
            .filter(|step| step.to_string() == *name)
    };
    let mut steps: Vec<u64> = entries(save_dir)?.iter().filter_map(step).collect();
    steps.sort_unstable();
    Ok(steps)
}

fn entries(folder: &Path) -> Result<Vec<String>, CheckpointError> {
    let listed = fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let listed = listed.map_err(CheckpointError::io("list", folder))?;
    Ok(listed
        .into_iter()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Tensor;

    fn snapshot(global_step: u64) -> Snapshot {
        let tensor = Tensor::from_slice(&[global_step as f32]);
        Snapshot {
            global_step,
            model: vec![("model.w".to_owned(), tensor)],
            optimizer: Vec::new(),
            state: serde_json::json!({ "step": global_step }),
            is_copy: true,
        }
    }

    fn save(manager: &mut Manager, steps: &[u64]) {
        for &step in steps {
            manager.save(snapshot(step)).unwrap();
        }
        manager.wait().unwrap();
    }

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
    fn a_damaged_newest_gives_way_to_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut manager = Manager::open(dir.path(), None).unwrap();
        save(&mut manager, &[1, 2, 3]);
        fs::write(dir.path().join("3").join(format::MODEL_FILE), "rubbish").unwrap();
        fs::remove_file(dir.path().join("2").join(format::STATE_FILE)).unwrap();
        assert_eq!(
            manager.newest_valid().unwrap().unwrap().folder(),
            dir.path().join("1")
        );
    }

    #[test]
    fn a_second_run_is_refused_until_the_first_ends() {
        let dir = tempfile::tempdir().unwrap();
        let first = Manager::open(dir.path(), None).unwrap();
        assert!(matches!(
            Manager::open(dir.path(), None),
            Err(CheckpointError::Locked { .. })
        ));
        drop(first);
        Manager::open(dir.path(), None).unwrap();
    }

    #[test]
    fn leftovers_of_a_killed_save_are_cleared() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".writing-5")).unwrap();
        fs::write(dir.path().join(".writing-5/model.safetensors"), "half").unwrap();
        let manager = Manager::open(dir.path(), None).unwrap();
        assert!(manager.newest_valid().unwrap().is_none());
        assert!(!dir.path().join(".writing-5").exists());
    }

    #[test]
    fn a_failed_save_is_an_error_and_leaves_the_earlier_ones() {
        let dir = tempfile::tempdir().unwrap();
        let mut manager = Manager::open(dir.path(), None).unwrap();
        save(&mut manager, &[1]);
        // A file where the temporary folder should go: the save cannot begin.
        fs::write(dir.path().join(".writing-2"), "in the way").unwrap();
        manager.save(snapshot(2)).unwrap();
        assert!(matches!(manager.wait(), Err(CheckpointError::Io { .. })));
        assert_eq!(
            manager.newest_valid().unwrap().unwrap().folder(),
            dir.path().join("1")
        );
    }
}
