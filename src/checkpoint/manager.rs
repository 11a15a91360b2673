//! The checkpoints of one run: the lock on its folder, writing in the background, retention, the newest valid one.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::format::Snapshot;
use super::lock::Lock;
use super::record::RECORD_FILE;
use super::retention::Retention;
use super::staging::Staging;
use super::writer::{Shared, Targets, Writer, lock};
use super::{Checkpoint, CheckpointError, listing, publish};
use crate::whole_file;

/// A wait for the save before that is worth a warning; those of small models pass unnoticed.
const LONG_WAIT: Duration = Duration::from_millis(100);

/// Owns `save_dir` for as long as it lives.
#[derive(Debug)]
pub struct Manager {
    save_dir: PathBuf,
    lock: Lock,
    /// The save that may still be under way; its thread ends with the folder or the error.
    writer: Option<JoinHandle<Result<PathBuf, CheckpointError>>>,
    /// Memory for a copy of what trains, where saves are made in the middle of a training.
    staging: Option<Staging>,
    shared: Arc<Mutex<Shared>>,
}

impl Manager {
    /// Creates `save_dir` if need be, locks it, tries that it can be written, and clears what a killed run left.
    ///
    /// # Errors
    /// When the folder cannot be created, written or listed, or another run holds it.
    pub fn open(save_dir: &Path, max_to_keep: Option<u64>) -> Result<Self, CheckpointError> {
        whole_file::make_folder(save_dir).map_err(CheckpointError::Folder)?;
        let lock = Lock::take(save_dir)?;
        clear_leftovers(save_dir)?;
        let shared = Shared {
            retention: Retention::new(save_dir, max_to_keep),
            is_recorded: false,
        };
        Ok(Self {
            save_dir: save_dir.to_owned(),
            lock,
            writer: None,
            staging: None,
            shared: Arc::new(Mutex::new(shared)),
        })
    }

    /// The newest checkpoint whose checksums hold; damaged newer ones are reported and passed over.
    ///
    /// # Errors
    /// When the folder cannot be listed, or a checkpoint that may be the newest cannot be read.
    pub fn newest_valid(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        let found = listing::newest_valid(&self.save_dir)?;
        let step = found.as_ref().and_then(Checkpoint::step_of_name);
        if let Some(step) = step {
            lock(&self.shared).retention.note_valid(step);
        }
        Ok(found)
    }

    /// Removes what is beyond the number to keep, as after a save of `newest`: a run that was killed between the two has
    /// left it.
    pub fn retire(&self, newest: &Checkpoint) {
        if let Some(step) = newest.step_of_name() {
            lock(&self.shared).retention.retire(step);
        }
    }

    /// Takes memory for a copy of what `snapshot` holds, so that later saves copy it and write in the background.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn stage_copies(&mut self, snapshot: &Snapshot) -> Result<(), CheckpointError> {
        let staging = Staging::begin(snapshot);
        self.staging =
            Some(staging.map_err(CheckpointError::io("start a thread for", &self.save_dir))?);
        Ok(())
    }

    /// Saves `snapshot` under the names of `targets`. If the save before is still under way, says so and waits for it.
    ///
    /// With memory for a copy, all but the copying happens in the background. Without, the tensors are written to the
    /// system's file cache first and only the rest, waiting for the disk, happens there.
    ///
    /// # Errors
    /// When this save or the one before fails, the folder is no longer this run's, or no thread can be started.
    pub fn save(&mut self, snapshot: Snapshot, targets: Targets) -> Result<(), CheckpointError> {
        let begin = Instant::now();
        self.wait()?;
        let waited = begin.elapsed();
        if waited > LONG_WAIT {
            warn!(
                waited_secs = waited.as_secs_f64(),
                "training waited until the previous checkpoint was written: checkpoint less often, or to a faster disk"
            );
        }
        self.lock.confirm()?;
        if let Some(Err(error)) = self.staging.as_mut().map(Staging::settle) {
            warn!(%error, "no memory for a copy of what is saved: training stops while a checkpoint is written");
            self.staging = None;
        }
        let writer = Writer {
            save_dir: self.save_dir.clone(),
            targets,
            shared: Arc::clone(&self.shared),
        };
        match &mut self.staging {
            Some(staging) => {
                let copy = staging.copy(snapshot)?;
                self.start(move || writer.write(&copy))
            }
            None => {
                let staged = writer.stage(&snapshot)?;
                let (global_step, run) = (snapshot.global_step, snapshot.run);
                self.start(move || writer.publish(staged, global_step, run.as_ref()))
            }
        }
    }

    fn start(
        &mut self,
        write: impl FnOnce() -> Result<PathBuf, CheckpointError> + Send + 'static,
    ) -> Result<(), CheckpointError> {
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

/// Removes or puts back what a run that was killed in the middle of a save left behind. What cannot be moved is a warning:
/// it is in nobody's way.
fn clear_leftovers(save_dir: &Path) -> Result<(), CheckpointError> {
    whole_file::remove_leftovers(save_dir, Some(RECORD_FILE.as_ref()));
    let names = listing::entries(save_dir)?;
    for leftover in publish::leftovers(&names) {
        match leftover.clear(save_dir) {
            Ok(done) => info!(folder = leftover.name(), "{done}"),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                warn!(%error, cause, "what an interrupted save left stays on the disk");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{kept, save, snapshot};
    use super::super::{format, global_steps, read_record};
    use super::*;
    use std::fs;

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
        let failed = manager.save(snapshot(2), kept());
        assert!(matches!(failed, Err(CheckpointError::Io { .. })));
        manager.stage_copies(&snapshot(2)).unwrap();
        manager.save(snapshot(2), kept()).unwrap();
        assert!(matches!(manager.wait(), Err(CheckpointError::Io { .. })));
        assert_eq!(
            manager.newest_valid().unwrap().unwrap().folder(),
            dir.path().join("1")
        );
    }

    #[test]
    fn weights_that_are_no_numbers_take_the_place_of_no_good_ones() {
        let dir = tempfile::tempdir().unwrap();
        let mut manager = Manager::open(dir.path(), Some(1)).unwrap();
        save(&mut manager, &[1]);
        manager.stage_copies(&snapshot(2)).unwrap();
        let bad = snapshot(2);
        let _ = bad.model[0].1.shallow_clone().fill_(f64::NAN);
        manager.save(bad, kept()).unwrap();
        let error = manager.wait().unwrap_err();
        assert!(matches!(
            error,
            CheckpointError::NotFinite { global_step: 2, .. }
        ));
        let newest = manager.newest_valid().unwrap().unwrap();
        assert_eq!(newest.folder(), dir.path().join("1"));
        assert!(!dir.path().join("2").exists());
    }

    #[test]
    fn the_record_is_that_of_the_first_save_of_a_run() {
        let dir = tempfile::tempdir().unwrap();
        let made = || read_record(dir.path()).unwrap().unwrap()["made"].clone();
        let mut manager = Manager::open(dir.path(), None).unwrap();
        assert!(read_record(dir.path()).unwrap().is_none());
        save(&mut manager, &[1, 2]);
        assert_eq!(made(), 1);
        drop(manager);
        let mut manager = Manager::open(dir.path(), None).unwrap();
        assert_eq!(made(), 1, "a start alone changes nothing");
        save(&mut manager, &[3]);
        assert_eq!(made(), 3);
    }

    #[test]
    fn one_snapshot_is_saved_as_both_and_best_is_not_retired() {
        let dir = tempfile::tempdir().unwrap();
        let mut manager = Manager::open(dir.path(), Some(1)).unwrap();
        manager.stage_copies(&snapshot(1)).unwrap();
        for step in [1, 2] {
            let targets = Targets {
                step: true,
                best: Some(serde_json::json!({ "best": step })),
            };
            manager.save(snapshot(step), targets).unwrap();
        }
        save(&mut manager, &[3]);
        let best = Checkpoint::open(&dir.path().join(format::BEST)).unwrap();
        best.verify().unwrap();
        assert_eq!(best.state().unwrap()["best"], 2);
        assert_eq!(global_steps(dir.path()).unwrap(), [3]);
    }

    #[test]
    fn a_save_that_was_replacing_one_when_it_was_killed_loses_none() {
        let dir = tempfile::tempdir().unwrap();
        let mut manager = Manager::open(dir.path(), None).unwrap();
        save(&mut manager, &[1, 2]);
        drop(manager);
        let path = |name: &str| dir.path().join(name);
        fs::rename(path("1"), path(".replaced-1")).unwrap();
        fs::create_dir(path(".replaced-2")).unwrap();
        fs::create_dir(path(".writing-notes")).unwrap();
        Manager::open(dir.path(), None).unwrap();
        assert_eq!(global_steps(dir.path()).unwrap(), [1, 2]);
        assert!(!path(".replaced-2").exists());
        assert!(path(".writing-notes").exists(), "no name of ours");
    }
}
