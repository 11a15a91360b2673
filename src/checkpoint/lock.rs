//! One run at a time has a `save_dir`: locks that the system releases when the process ends in whatever way.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::CheckpointError;

const LOCK_FILE: &str = ".lock";

/// Holds a `save_dir`: the folder itself, so that it helps nobody to remove a file from it, and a file in it for network
/// file systems, which lock no folders.
#[derive(Debug)]
pub(super) struct Lock {
    save_dir: PathBuf,
    folder: File,
    file: File,
}

impl Lock {
    /// Takes the folder.
    ///
    /// # Errors
    /// When another run has it, or it cannot be written.
    pub(super) fn take(save_dir: &Path) -> Result<Self, CheckpointError> {
        let folder = File::open(save_dir).map_err(CheckpointError::io("read", save_dir))?;
        // Where folders cannot be locked the file alone decides.
        if let Err(TryLockError::WouldBlock) = folder.try_lock() {
            return Err(locked(save_dir));
        }
        Ok(Self {
            save_dir: save_dir.to_owned(),
            folder,
            file: lock_file(save_dir)?,
        })
    }

    /// Makes sure that the folder is still this run's: takes the file again if it was removed.
    ///
    /// # Errors
    /// When the folder was removed or replaced, or another run has taken it.
    pub(super) fn confirm(&mut self) -> Result<(), CheckpointError> {
        if !is_same(&self.folder, &self.save_dir) {
            return Err(CheckpointError::LockLost {
                path: self.save_dir.clone(),
            });
        }
        if !is_same(&self.file, &self.save_dir.join(LOCK_FILE)) {
            self.file = lock_file(&self.save_dir)?;
        }
        Ok(())
    }
}

/// Whether a run has `save_dir` now.
#[must_use]
pub fn is_held(save_dir: &Path) -> bool {
    let is_locked = |path: &Path| {
        let file = open_options().read(true).open(path);
        let locked = file.map(|file| file.try_lock_shared());
        matches!(locked, Ok(Err(TryLockError::WouldBlock)))
    };
    is_locked(save_dir) || is_locked(&save_dir.join(LOCK_FILE))
}

fn lock_file(save_dir: &Path) -> Result<File, CheckpointError> {
    let path = save_dir.join(LOCK_FILE);
    let opened = open_options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = opened.map_err(CheckpointError::io("open the lock", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(locked(save_dir)),
        Err(TryLockError::Error(source)) => Err(CheckpointError::io("lock", path)(source)),
    }
}

/// Does not wait where the name is that of a pipe.
fn open_options() -> fs::OpenOptions {
    let mut options = File::options();
    options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    options
}

fn locked(save_dir: &Path) -> CheckpointError {
    CheckpointError::Locked {
        path: save_dir.to_owned(),
    }
}

fn is_same(file: &File, path: &Path) -> bool {
    let identity = |found: fs::Metadata| (found.dev(), found.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(named)) => identity(held) == identity(named),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_file_lets_no_second_run_in() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Lock::take(dir.path()).unwrap();
        fs::remove_file(dir.path().join(LOCK_FILE)).unwrap();
        let second = Lock::take(dir.path());
        assert!(matches!(second, Err(CheckpointError::Locked { .. })));
        assert!(is_held(dir.path()));
        first.confirm().unwrap();
        assert!(dir.path().join(LOCK_FILE).exists(), "it is taken again");
        drop(first);
        assert!(!is_held(dir.path()));
        Lock::take(dir.path()).unwrap();
    }

    #[test]
    fn a_file_that_another_run_has_taken_meanwhile_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Lock::take(dir.path()).unwrap();
        // As on a file system where the lock on the folder does nothing.
        first.folder.unlock().unwrap();
        fs::remove_file(dir.path().join(LOCK_FILE)).unwrap();
        let second = Lock::take(dir.path()).unwrap();
        let confirmed = first.confirm();
        assert!(matches!(confirmed, Err(CheckpointError::Locked { .. })));
        drop(second);
    }

    #[test]
    fn a_folder_that_was_replaced_is_no_longer_held() {
        let dir = tempfile::tempdir().unwrap();
        let save_dir = dir.path().join("save");
        fs::create_dir(&save_dir).unwrap();
        let mut lock = Lock::take(&save_dir).unwrap();
        fs::rename(&save_dir, dir.path().join("moved")).unwrap();
        fs::create_dir(&save_dir).unwrap();
        assert!(matches!(
            lock.confirm(),
            Err(CheckpointError::LockLost { .. })
        ));
    }
}
