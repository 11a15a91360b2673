//! Writes one checkpoint: its files under a name that nobody looks at, then one rename.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tracing::warn;

use super::format::{BEST, MODEL_FILE, OPTIMIZER_FILE, STATE_FILE, Snapshot};
use super::state_file::{FileDigest, StateFile};
use super::{CheckpointError, listing, tensor_file};

/// Begins the name of a checkpoint that is being written.
const WRITING: &str = ".writing-";
/// Begins the name of a checkpoint that is being removed.
const DELETING: &str = ".deleting-";
/// Begins the name of a checkpoint that another one is taking the place of.
const REPLACED: &str = ".replaced-";

/// A checkpoint whose tensors are in files that nobody sees yet; gone when dropped before it is published.
#[derive(Debug)]
pub struct Staged {
    save_dir: PathBuf,
    part: PathBuf,
    name: String,
    global_step: u64,
    state: Value,
    run: Option<Value>,
}

/// Writes the tensors of `snapshot` to the system's file cache, for a checkpoint that is to be called `name`: what
/// trains may change when this returns.
///
/// # Errors
/// When the disk is full, a permission is missing, or a tensor cannot be read; nothing is left then.
pub fn stage(save_dir: &Path, name: &str, snapshot: &Snapshot) -> Result<Staged, CheckpointError> {
    let part = save_dir.join(format!("{WRITING}{name}"));
    remove(&part)?;
    fs::create_dir(&part).map_err(CheckpointError::io("create", &part))?;
    let staged = Staged {
        save_dir: save_dir.to_owned(),
        part,
        name: name.to_owned(),
        global_step: snapshot.global_step,
        state: snapshot.state.clone(),
        run: snapshot.run.clone(),
    };
    for (name, tensors) in [
        (MODEL_FILE, &snapshot.model),
        (OPTIMIZER_FILE, &snapshot.optimizer),
    ] {
        tensor_file::write(&staged.part.join(name), tensors)?;
    }
    Ok(staged)
}

impl Staged {
    /// The same checkpoint with another `state`.
    #[must_use]
    pub(super) fn with_state(mut self, state: Value) -> Self {
        self.state = state;
        self
    }

    /// Waits until everything is on the disk, then makes it visible under its name, `save_dir/<global_step>` say. It
    /// takes the place of a checkpoint of that name; anything else of that name is moved aside.
    ///
    /// # Errors
    /// When the disk fails; nothing becomes visible then.
    pub fn publish(self) -> Result<PathBuf, CheckpointError> {
        self.seal()?;
        let folder = self.save_dir.join(&self.name);
        let replaced = make_way(&self.save_dir, &self.name)?;
        if let Err(error) = fs::rename(&self.part, &folder) {
            // The one before is better than none.
            let put_back = replaced.map(|replaced| fs::rename(replaced, &folder));
            if let Some(Err(error)) = put_back {
                warn!(checkpoint = %folder.display(), %error, "the checkpoint before cannot be put back: the next run does it");
            }
            return Err(CheckpointError::io("publish", &folder)(error));
        }
        sync_folder(&self.save_dir)?;
        if let Some(Err(error)) = replaced.map(|replaced| remove(&replaced)) {
            warn!(%error, "what this checkpoint replaced stays on the disk");
        }
        Ok(folder)
    }

    /// Flushes the tensors and adds `state.json` with their checksums.
    fn seal(&self) -> Result<(), CheckpointError> {
        let mut files = BTreeMap::new();
        for name in [MODEL_FILE, OPTIMIZER_FILE] {
            let path = self.part.join(name);
            tensor_file::flush(&path)?;
            // What is digested is what the system gives back, not what was meant.
            files.insert(name.to_owned(), FileDigest::of(&path)?);
        }
        let (state, run) = (self.state.clone(), self.run.clone());
        let state = StateFile::new(self.global_step, state, run, files);
        state.write(&self.part.join(STATE_FILE))?;
        sync_folder(&self.part)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Published: there is nothing under this name any more. Failed: the error that matters is on its way.
        let _ = fs::remove_dir_all(&self.part);
    }
}

/// Frees the name of a checkpoint; returns where the checkpoint is that had it.
fn make_way(save_dir: &Path, name: &str) -> Result<Option<PathBuf>, CheckpointError> {
    let path = save_dir.join(name);
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CheckpointError::io("look at", path)(error)),
        Ok(_) => {}
    }
    if listing::is_ours(&path).unwrap_or(false) {
        return hide(save_dir, name, REPLACED).map(Some);
    }
    let aside = free_name(save_dir, name);
    fs::rename(&path, &aside).map_err(CheckpointError::io("move aside", &path))?;
    warn!(
        path = %path.display(),
        aside = %aside.display(),
        "no checkpoint of this program, and where one must go: moved aside"
    );
    Ok(None)
}

/// `NAME.aside`, or the first of `NAME.aside-2` and so on that nothing has.
fn free_name(save_dir: &Path, name: &str) -> PathBuf {
    let mut path = save_dir.join(format!("{name}.aside"));
    let mut number = 2;
    while fs::symlink_metadata(&path).is_ok() {
        path = save_dir.join(format!("{name}.aside-{number}"));
        number += 1;
    }
    path
}

/// Moves a checkpoint out of sight in one step, then removes it: a crash never leaves half of one under its name.
///
/// # Errors
/// When it cannot be moved or removed.
pub(super) fn discard(save_dir: &Path, name: &str) -> Result<(), CheckpointError> {
    remove(&twice(|| hide(save_dir, name, DELETING))?)
}

/// Moves a checkpoint out of sight in one step; returns where to.
fn hide(save_dir: &Path, name: &str, prefix: &str) -> Result<PathBuf, CheckpointError> {
    let (folder, hidden) = (
        save_dir.join(name),
        save_dir.join(format!("{prefix}{name}")),
    );
    remove(&hidden)?;
    fs::rename(&folder, &hidden).map_err(CheckpointError::io("remove", folder))?;
    Ok(hidden)
}

/// Tries once more what a disk has refused: one fault would keep a checkpoint until the next save, or after the last one
/// until the next run.
pub(super) fn twice<T, E>(attempt: impl Fn() -> Result<T, E>) -> Result<T, E> {
    attempt().or_else(|_| attempt())
}

/// Removes a folder with all that is in it, if it is there.
fn remove(folder: &Path) -> Result<(), CheckpointError> {
    match twice(|| fs::remove_dir_all(folder)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(CheckpointError::io("remove", folder)(error))
        }
        _ => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> Result<(), CheckpointError> {
    File::open(folder)
        .and_then(|handle| handle.sync_all())
        .map_err(CheckpointError::io("flush", folder))
}

/// Tries again to remove what could not be removed before; nothing is being written meanwhile.
pub(super) fn discard_leftovers(save_dir: &Path) {
    let names = listing::entries(save_dir).unwrap_or_default();
    let doomed = names.iter().filter(|name| name.starts_with(DELETING));
    for name in doomed.filter_map(|name| name.strip_prefix(DELETING)) {
        if listing::is_checkpoint_name(name) && name != BEST {
            // Said when it failed for the first time.
            let _ = remove(&save_dir.join(format!("{DELETING}{name}")));
        }
    }
}

/// The folders among `names` that a killed save or removal has left: to be put back under the name given, or removed.
pub(super) fn leftovers(names: &[String]) -> Vec<Leftover<'_>> {
    let of = |name: &'_ String| {
        let (kind, of) = [WRITING, DELETING, REPLACED]
            .iter()
            .find_map(|prefix| Some((*prefix, name.strip_prefix(prefix)?.to_owned())))?;
        listing::is_checkpoint_name(&of).then_some((kind, of))
    };
    let all = names.iter().filter_map(|name| Some((name, of(name)?)));
    all.map(|(name, (kind, of))| Leftover {
        name,
        // Between the two renames of a replacement the one before is the only one. The best one is never removed, so
        // that under this name it is what an earlier version of this program was replacing.
        put_back: ((kind == REPLACED || of == BEST) && kind != WRITING && !names.contains(&of))
            .then_some(of),
    })
    .collect()
}

/// What a killed save or removal has left.
#[derive(Debug, PartialEq)]
pub(super) struct Leftover<'a> {
    name: &'a str,
    put_back: Option<String>,
}

impl Leftover<'_> {
    /// Puts it back or removes it; returns what was done.
    ///
    /// # Errors
    /// When it cannot be moved or removed.
    pub(super) fn clear(&self, save_dir: &Path) -> Result<&'static str, CheckpointError> {
        let path = save_dir.join(self.name);
        match &self.put_back {
            Some(name) => {
                let folder = save_dir.join(name);
                fs::rename(&path, &folder).map_err(CheckpointError::io("restore", folder))?;
                Ok("put back the checkpoint that an interrupted save was replacing")
            }
            None => {
                remove(&path)?;
                Ok("removed what an interrupted save left")
            }
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        self.name
    }
}
