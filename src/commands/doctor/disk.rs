//! Folders: where a run is saved, where its data is, shared memory.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::statvfs;

use super::finding::Finding;
use crate::checkpoint::{global_steps, lock, try_save_dir};
use crate::config::{RecapConfig, RecapDataConfig};
use crate::data::{self, DataError, NoRecords};
use crate::machine::bytes_text;

/// Room for some checkpoints of the production model, where there is none yet to go by.
const ROOM_BYTES: u64 = 4_000_000_000;
/// Shared memory that NCCL wants for GPUs of one machine.
const SHM_BYTES: u64 = 1 << 30;

/// Whether a run can be saved.
pub(super) fn save_dir(config: &RecapConfig) -> Finding {
    let folder = PathBuf::from(&config.training.save_dir);
    let facts = |rest: &str| format!("{} {rest}", folder.display());
    if let Err(error) = try_save_dir(&folder) {
        let remedy = "set training.save_dir to a folder on a disk that can be written";
        let error = error.into();
        return Finding::fail("save_dir", format!("{error:#}"), remedy).ending_with(&error);
    }
    if lock::is_held(&folder) {
        let remedy = "give the next run a folder of its own, or wait for the run that has this one";
        return Finding::warn(
            "save_dir",
            facts("belongs to a run that goes on now"),
            remedy,
        );
    }
    let existing = existing(&folder);
    let Ok(system) = statvfs(existing) else {
        return Finding::ok("save_dir", facts("can be written"));
    };
    let free = system.f_bavail * system.f_frsize;
    let one = newest_checkpoint_bytes(&folder);
    // The next one is complete before an old one is removed.
    let needed = one.map_or(ROOM_BYTES, |bytes| 2 * bytes);
    let size = one.map_or_else(String::new, |bytes| {
        format!(", a checkpoint is {}", bytes_text(bytes))
    });
    let facts = facts(&format!("can be written, {} free{size}", bytes_text(free)));
    if free < needed {
        let remedy = "free some space, or set training.checkpoint_max_to_keep";
        return Finding::warn("save_dir", facts, remedy);
    }
    Finding::ok("save_dir", facts)
}

/// The folder itself, or the nearest one above that is there.
fn existing(folder: &Path) -> &Path {
    let above = folder.ancestors().find(|folder| folder.is_dir());
    above
        .filter(|path| !path.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn newest_checkpoint_bytes(folder: &Path) -> Option<u64> {
    let newest = global_steps(folder).ok()?.into_iter().max()?;
    let files = fs::read_dir(folder.join(newest.to_string())).ok()?;
    Some(
        files
            .flatten()
            .filter_map(|file| file.metadata().ok())
            .map(|file| file.len())
            .sum(),
    )
}

/// Whether the data is there and can be read, in a store too; `check` looks into it.
pub(super) fn data(config: &RecapConfig) -> Finding {
    let mut sets = vec![("train_data".to_owned(), &config.train_data)];
    if config.training.evaluate {
        let chosen = config.training.evaluate_partitions.as_ref();
        let partitions = config.validation_data.iter();
        let partitions = partitions.filter(|(name, _)| chosen.is_none_or(|all| all.contains(name)));
        sets.extend(partitions.map(|(name, data)| (format!("validation_data.{name}"), data)));
    }
    let (mut facts, mut is_partial) = (Vec::new(), false);
    for (name, data) in &sets {
        match Extent::of(data).with_context(|| name.clone()) {
            Ok(extent) => {
                is_partial |= extent.left_out > 0;
                facts.push(format!("{name}: {extent}"));
            }
            Err(error) => {
                return Finding::fail(
                    "data",
                    format!("{error:#}"),
                    "put the files where the config says, let the user of the training read them (a store needs its \
                     variables: AWS_..., GOOGLE_...), or let `generate` make some; `check` tells more",
                )
                .ending_with(&error);
            }
        }
    }
    let facts = facts.join("; ");
    if is_partial {
        let remedy =
            "a training leaves these files out: fetch or write them again, or narrow `inputs`";
        return Finding::warn("data", facts, remedy);
    }
    Finding::ok("data", facts)
}

/// How much there is of a data set. Each file was opened and its first records were read as training does it, of those
/// in a store the first.
struct Extent {
    files: usize,
    bytes: u64,
    /// Files that a training leaves out: without a record, or bad where bad data is to be ignored.
    left_out: usize,
    /// One of them, and why.
    first: String,
}

impl Extent {
    fn of(config: &RecapDataConfig) -> Result<Self, DataError> {
        let files = data::file_names(config)?;
        let sizes = files.iter().map(|file| data::file_size(file));
        let sizes = sizes.collect::<Result<Vec<u64>, _>>()?;
        let mut extent = Self {
            files: files.len(),
            bytes: sizes.iter().copied().fold(0, u64::saturating_add),
            left_out: 0,
            first: String::new(),
        };
        data::refuse_empty(&files, &sizes)?;
        let mut has_read_store = false;
        let mut last = None;
        for file in &files {
            if data::is_remote(file) && std::mem::replace(&mut has_read_store, true) {
                continue;
            }
            let reason = match data::try_records(file) {
                Ok(true) => continue,
                Ok(false) => format!("{} has no record", file.display()),
                Err(error) if config.ignore_data_errors && error.is_damage() => {
                    let error = last.insert(error);
                    format!("{error}")
                }
                Err(error) => return Err(error),
            };
            if extent.left_out == 0 {
                extent.first = reason;
            }
            extent.left_out += 1;
        }
        if extent.left_out < files.len() {
            return Ok(extent);
        }
        Err(last.unwrap_or(DataError::NoRecords(NoRecords {
            files,
            rank: (0, 1),
            has_skipped: false,
        })))
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} files, {}", self.files, bytes_text(self.bytes))?;
        if self.left_out > 0 {
            write!(f, ", {} of no use: {}", self.left_out, self.first)?;
        }
        Ok(())
    }
}

/// `/dev/shm`, through which processes of one machine talk.
pub(super) fn shared_memory() -> Finding {
    let folder = Path::new("/dev/shm");
    let Ok(system) = statvfs(folder) else {
        let remedy = "mount a tmpfs there if several GPUs are to train together";
        return Finding::warn("/dev/shm", "is not there".to_owned(), remedy);
    };
    let size = system.f_blocks * system.f_frsize;
    let num_gpus = tch::Cuda::device_count();
    let facts = bytes_text(size);
    if size < SHM_BYTES && num_gpus > 1 {
        let remedy = "NCCL needs more: start the container with --shm-size=1g or --ipc=host";
        return Finding::warn("/dev/shm", facts, remedy);
    }
    Finding::ok("/dev/shm", facts)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::commands::doctor::finding::Level;
    use crate::config::Decode;

    fn config(save_dir: &Path) -> RecapConfig {
        let mut config = RecapConfig::placeholder();
        config.training.save_dir = save_dir.display().to_string();
        config
    }

    #[test]
    fn a_save_dir_is_tried_and_left_as_it_was() {
        let root = tempfile::tempdir().unwrap();
        let found = save_dir(&config(&root.path().join("new/run")));
        assert_ne!(found.level, Level::Fail, "{found:?}");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(save_dir(&config(&file)).level, Level::Fail);
    }

    #[test]
    fn a_save_dir_of_a_run_that_goes_on_is_a_warning() {
        let root = tempfile::tempdir().unwrap();
        let lock = File::create(root.path().join(".lock")).unwrap();
        lock.try_lock().unwrap();
        let found = save_dir(&config(root.path()));
        assert_eq!(found.level, Level::Warn, "{found:?}");
        assert!(found.facts.contains("goes on now"), "{found:?}");
    }
}
