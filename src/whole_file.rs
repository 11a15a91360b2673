//! Files and folders that are there whole or not at all ([`Draft`]), and files of records of which that is true
//! ([`RecordFile`]). A draft is written under a hidden name and renamed when it is on the disk. Drafts of processes that are gone are removed by the next one that writes the same.
//!
//! A draft of `name` is `.name.<process>-<number>@<host>.recap-draft`, and whoever writes it holds a lock on it: one whose
//! lock can be taken belongs to nobody. Where a file system has no locks, host and process decide.

mod leftovers;
mod name;
mod records;
mod signals;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::warn;

pub use self::leftovers::{is_in_the_making, remove_leftovers};
use self::leftovers::{is_same, remove};
pub use self::name::is_draft;
use self::name::{draft_name, parent};
pub use self::records::{Appended, RecordFile};
pub use self::signals::{remove_on_signals, size_limit_was_met, survive_size_limit};
pub use self::trial::{FolderError, make_folder, try_folder};

/// Names that are tried for one draft.
const ATTEMPTS: usize = 100;

/// Makes the names of this process different.
static NUMBER: AtomicU64 = AtomicU64::new(0);
/// Drafts of this process. Whoever removes or publishes one holds it.
static LIVE: Mutex<BTreeMap<u64, PathBuf>> = Mutex::new(BTreeMap::new());

/// A file or folder in the making; removed when dropped before [`Draft::publish`].
#[derive(Debug)]
pub struct Draft {
    target: PathBuf,
    path: PathBuf,
    /// Of [`LIVE`].
    number: u64,
    /// The file or folder, locked.
    handle: File,
    /// It has its name, or is removed.
    is_over: bool,
}

fn lock() -> MutexGuard<'static, BTreeMap<u64, PathBuf>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone, Copy)]
enum Kind {
    File,
    Folder,
}

impl Draft {
    /// Begins the file `target`, in a folder that exists, and hands out the handle to write and read. What killed
    /// processes left of the same file is removed.
    ///
    /// # Errors
    /// When `target` is there and no file, or the folder cannot be written.
    pub fn file(target: &Path) -> io::Result<(Self, File)> {
        if fs::metadata(target).is_ok_and(|found| !found.is_file()) {
            let problem = "something that is no regular file has this name";
            return Err(io::Error::new(ErrorKind::AlreadyExists, problem));
        }
        remove_leftovers(parent(target), target.file_name());
        Self::file_in_clean_folder(target)
    }

    /// Begins the file `target` as [`Draft::file`] does, in a folder whose leftovers the caller has removed.
    ///
    /// # Errors
    /// As for [`Draft::file`].
    pub fn file_in_clean_folder(target: &Path) -> io::Result<(Self, File)> {
        Self::begin(target, Kind::File)?.with_handle()
    }

    /// Begins the folder `target`, which must not be there or be empty when it is published; its parents are made. What
    /// killed processes left of the same folder is removed.
    ///
    /// # Errors
    /// When the parents cannot be made or written.
    pub fn folder(target: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent(target))?;
        remove_leftovers(parent(target), target.file_name());
        Self::begin(target, Kind::Folder)
    }

    /// Where it is in the making.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name, once it is on the disk. Files inside a folder are synced by whoever writes them.
    ///
    /// # Errors
    /// When it cannot be synced or renamed; then `target` is as it was, except if the last sync alone failed.
    pub fn publish(mut self) -> io::Result<()> {
        if self.handle.metadata()?.is_dir() {
            sync_folders(&self.path)?;
        } else {
            self.handle.sync_all()?;
        }
        self.rename(&mut lock())?;
        sync_folder(parent(&self.target))
    }

    /// Gives it its name without waiting for the disk: for what is checked when it is read, and can be made again.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn publish_unsynced(mut self) -> io::Result<()> {
        self.rename(&mut lock())
    }

    /// Gives all of them their names at once, when every one is on the disk: a signal that removes drafts comes before
    /// the first or behind the last.
    ///
    /// # Errors
    /// When one cannot be synced or renamed, with its path; the names that were given by then are taken back.
    pub fn publish_all(drafts: Vec<Self>) -> Result<(), (PathBuf, io::Error)> {
        for draft in &drafts {
            let synced = draft.handle.sync_all();
            synced.map_err(|error| (draft.target.clone(), error))?;
        }
        let mut live = lock();
        let mut folders = BTreeSet::new();
        let mut published = Vec::new();
        let mut failed = None;
        for mut draft in drafts {
            folders.insert(parent(&draft.target).to_owned());
            if failed.is_none()
                && let Err(error) = draft.rename(&mut live)
            {
                failed = Some((draft.target.clone(), error));
            }
            if draft.is_over {
                published.push(draft.target.clone());
            } else {
                // Dropping it would wait for the lock that is held here.
                draft.give_up(&mut live);
            }
        }
        if let Some(failed) = failed {
            published
                .iter()
                .for_each(|path| drop(fs::remove_file(path)));
            return Err(failed);
        }
        drop(live);
        for folder in folders {
            sync_folder(&folder).map_err(|error| (folder, error))?;
        }
        Ok(())
    }

    fn rename(&mut self, live: &mut BTreeMap<u64, PathBuf>) -> io::Result<()> {
        fs::rename(&self.path, &self.target)?;
        self.is_over = true;
        live.remove(&self.number);
        Ok(())
    }

    fn give_up(&mut self, live: &mut BTreeMap<u64, PathBuf>) {
        live.remove(&self.number);
        if let Err(error) = remove(&self.path) {
            warn!(draft = %self.path.display(), %error, "an unfinished file cannot be removed");
        }
        self.is_over = true;
    }

    fn with_handle(self) -> io::Result<(Self, File)> {
        let handle = self.handle.try_clone()?;
        Ok((self, handle))
    }

    fn begin(target: &Path, kind: Kind) -> io::Result<Self> {
        let name = target.file_name().ok_or_else(|| {
            let problem = "the path names no file or folder";
            io::Error::new(ErrorKind::InvalidInput, problem)
        })?;
        for _ in 0..ATTEMPTS {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = target.with_file_name(draft_name(name, number));
            let mut live = lock();
            let Some(handle) = open_new(&path, kind)? else {
                continue;
            };
            live.insert(number, path.clone());
            return Ok(Self {
                target: target.to_owned(),
                path,
                number,
                handle,
                is_over: false,
            });
        }
        let problem = "other processes remove what this one begins";
        Err(io::Error::new(ErrorKind::ResourceBusy, problem))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_over {
            // Waits for ever where a signal ends the process: no error is reported then.
            self.give_up(&mut lock());
        }
    }
}

/// Writes `bytes` to the file `target`.
///
/// # Errors
/// When they cannot be written; a file of that name is then as it was before.
pub fn write(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let (draft, mut file) = Draft::file(target)?;
    file.write_all(bytes)?;
    draft.publish()
}

/// Removes every draft of this process, for a process that is about to end. Nothing is published, and no draft is given
/// up in another way, as long as the answer is held.
#[must_use]
pub fn remove_all() -> impl Sized {
    let live = lock();
    for path in live.values() {
        // A folder that other threads still write to is moved out of their way first.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let aside = path.with_file_name(draft_name(OsStr::new("ended"), number));
        let path = fs::rename(path, &aside).map_or(path, |()| &aside);
        if let Err(error) = remove(path) {
            warn!(draft = %path.display(), %error, "an unfinished file cannot be removed");
        }
    }
    live
}

/// Waits until the entries of `folder` are on the disk.
///
/// # Errors
/// When the disk fails. File systems that cannot sync folders need not.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(()),
        synced => synced,
    }
}

fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    sync_folder(folder)
}

/// Creates `path` and locks it; `None` if it is there already or another process has taken it for a leftover.
fn open_new(path: &Path, kind: Kind) -> io::Result<Option<File>> {
    let created = match kind {
        Kind::File => {
            let mut options = File::options();
            options.read(true).write(true).create_new(true).open(path)
        }
        Kind::Folder => fs::create_dir(path).and_then(|()| File::open(path)),
    };
    let file = match created {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(None),
        Err(error) => return Err(error),
    };
    let is_ours = match file.try_lock() {
        Ok(()) => is_same(&file, path),
        Err(TryLockError::WouldBlock) => false,
        // No locks here: host and process in the name must do.
        Err(TryLockError::Error(_)) => true,
    };
    Ok(is_ours.then_some(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStrExt;

    fn names(folder: &Path) -> Vec<OsString> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_replaces_the_old_one_only_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("result.json");
        write(&path, b"old").unwrap();
        let (draft, mut file) = Draft::file(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(draft);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["result.json"]);
        let error = write(&dir.path().join("none/x"), b"").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_folder_appears_with_all_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/made");
        let draft = Draft::folder(&path).unwrap();
        fs::create_dir(draft.path().join("in")).unwrap();
        fs::write(draft.path().join("in/file"), "x").unwrap();
        assert!(!path.exists());
        draft.publish().unwrap();
        assert_eq!(fs::read(path.join("in/file")).unwrap(), b"x");
        let given_up = Draft::folder(&path).unwrap();
        fs::write(given_up.path().join("file"), "x").unwrap();
        drop(given_up);
        assert_eq!(names(&dir.path().join("a")), ["made"]);
    }

    #[test]
    fn names_of_any_length_and_bytes_have_drafts() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            &[b'x'; 255][..],
            b"bad\xffbytes",
            "ä".repeat(127).as_bytes(),
        ] {
            let path = dir.path().join(OsStr::from_bytes(name));
            write(&path, b"whole").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"whole");
        }
        assert_eq!(names(dir.path()).len(), 3);
    }

    #[test]
    fn several_files_appear_together_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let drafts = || ["a", "b", "c"].map(|name| Draft::file(&path(name)).unwrap().0);
        let three = drafts().into();
        fs::create_dir(path("b")).unwrap();
        let (failed, _) = Draft::publish_all(three).unwrap_err();
        assert_eq!(failed, path("b"));
        assert_eq!(names(dir.path()), ["b"]);
        fs::remove_dir(path("b")).unwrap();
        Draft::publish_all(drafts().into()).unwrap();
        assert_eq!(names(dir.path()), ["a", "b", "c"]);
    }

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.csv");
        fs::create_dir(&path).unwrap();
        assert!(Draft::file(&path).is_err());
        assert_eq!(names(dir.path()), ["x.csv"]);
    }
}
