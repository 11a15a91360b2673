//! One checkpoint on disk: files, checksums, atomic publication, reading back.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tch::Tensor;
use xxhash_rust::xxh3::Xxh3;

use super::CheckpointError;
use super::tensor_file::{self, TensorFile};

/// Parameters and buffers.
pub const MODEL_FILE: &str = "model.safetensors";
/// Optimizer state.
pub const OPTIMIZER_FILE: &str = "optimizer.safetensors";
/// Everything else, and the checksums of the two.
pub const STATE_FILE: &str = "state.json";

/// Version of the layout, in `state.json`.
const FORMAT: u32 = 1;

/// Tensors by name, in a stable order.
pub type Tensors = Vec<(String, Tensor)>;

/// What one checkpoint holds, on the CPU.
#[derive(Debug)]
pub struct Snapshot {
    /// Names the folder.
    pub global_step: u64,
    /// Parameters and buffers.
    pub model: Tensors,
    /// Optimizer state.
    pub optimizer: Tensors,
    /// Step, wall time, data position and the like.
    pub state: serde_json::Value,
    /// Whether the tensors are copies that nobody changes; else they are the ones that train.
    pub is_copy: bool,
}

/// `state.json`.
#[derive(Debug, Serialize, Deserialize)]
struct StateFile {
    format: u32,
    state: serde_json::Value,
    files: BTreeMap<String, FileDigest>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct FileDigest {
    bytes: u64,
    xxh3: String,
}

/// A checkpoint whose tensors are in files that nobody sees yet; gone when dropped before it is published.
#[derive(Debug)]
pub struct Staged {
    save_dir: PathBuf,
    part: PathBuf,
    global_step: u64,
    state: serde_json::Value,
}

/// Writes the tensors of `snapshot` to the system's file cache: what trains may change when this returns.
///
/// # Errors
/// When the disk is full, a permission is missing, or a tensor cannot be read; nothing is left then.
pub fn stage(save_dir: &Path, snapshot: Snapshot) -> Result<Staged, CheckpointError> {
    let part = save_dir.join(format!(".writing-{}", snapshot.global_step));
    if part.exists() {
        fs::remove_dir_all(&part).map_err(CheckpointError::io("remove", &part))?;
    }
    fs::create_dir(&part).map_err(CheckpointError::io("create", &part))?;
    let staged = Staged {
        save_dir: save_dir.to_owned(),
        part,
        global_step: snapshot.global_step,
        state: snapshot.state,
    };
    for (name, tensors) in [
        (MODEL_FILE, snapshot.model),
        (OPTIMIZER_FILE, snapshot.optimizer),
    ] {
        // Each list is dropped once written: where it is a copy, training needs the memory.
        tensor_file::write(&staged.part.join(name), &tensors)?;
    }
    Ok(staged)
}

impl Staged {
    /// Waits until everything is on the disk, then makes it visible as `save_dir/<global_step>`, replacing a folder of
    /// that name.
    ///
    /// # Errors
    /// When the disk fails; nothing becomes visible then.
    pub fn publish(self) -> Result<PathBuf, CheckpointError> {
        self.seal()?;
        let folder = self.save_dir.join(self.global_step.to_string());
        if folder.exists() {
            discard(&self.save_dir, &folder)?;
        }
        fs::rename(&self.part, &folder).map_err(CheckpointError::io("publish", &folder))?;
        sync_folder(&self.save_dir)?;
        Ok(folder)
    }

    /// Flushes the tensors and adds `state.json` with their checksums.
    fn seal(&self) -> Result<(), CheckpointError> {
        let mut files = BTreeMap::new();
        for name in [MODEL_FILE, OPTIMIZER_FILE] {
            let path = self.part.join(name);
            tensor_file::flush(&path)?;
            // What is digested is what the system gives back, not what was meant.
            files.insert(name.to_owned(), digest(&path)?);
        }
        let state = StateFile {
            format: FORMAT,
            state: self.state.clone(),
            files,
        };
        let path = self.part.join(STATE_FILE);
        let write = || -> std::io::Result<()> {
            let file = File::create(&path)?;
            serde_json::to_writer_pretty(&file, &state)?;
            file.sync_all()
        };
        write().map_err(CheckpointError::io("write", &path))?;
        sync_folder(&self.part)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Published: there is nothing under this name any more. Failed: the error that matters is on its way.
        let _ = fs::remove_dir_all(&self.part);
    }
}

/// Moves `folder` out of sight in one step, then removes it: a crash never leaves half a checkpoint under its name.
pub(super) fn discard(save_dir: &Path, folder: &Path) -> Result<(), CheckpointError> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let doomed = save_dir.join(format!(".deleting-{name}"));
    if doomed.exists() {
        fs::remove_dir_all(&doomed).map_err(CheckpointError::io("remove", &doomed))?;
    }
    fs::rename(folder, &doomed).map_err(CheckpointError::io("remove", folder))?;
    fs::remove_dir_all(&doomed).map_err(CheckpointError::io("remove", &doomed))
}

fn sync_folder(folder: &Path) -> Result<(), CheckpointError> {
    File::open(folder)
        .and_then(|handle| handle.sync_all())
        .map_err(CheckpointError::io("flush", folder))
}

fn digest(path: &Path) -> Result<FileDigest, CheckpointError> {
    let mut hash = Xxh3::new();
    let mut bytes = 0;
    let mut buffer = vec![0; 1 << 20];
    let mut file = File::open(path).map_err(CheckpointError::io("read", path))?;
    loop {
        let read = file
            .read(&mut buffer)
            .map_err(CheckpointError::io("read", path))?;
        if read == 0 {
            return Ok(FileDigest {
                bytes,
                xxh3: format!("{:032x}", hash.digest128()),
            });
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
}

/// A checkpoint folder that has been opened.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    /// Absent where a folder holds `model.safetensors` alone.
    state: Option<StateFile>,
}

impl Checkpoint {
    /// Opens a folder that has at least `model.safetensors`; reads `state.json` if it is there.
    ///
    /// # Errors
    /// When there is no model, or `state.json` cannot be read.
    pub fn open(folder: &Path) -> Result<Self, CheckpointError> {
        if !folder.join(MODEL_FILE).is_file() {
            return Err(CheckpointError::NotACheckpoint {
                path: folder.to_owned(),
            });
        }
        let path = folder.join(STATE_FILE);
        let state = if path.exists() {
            Some(read_state(&path)?)
        } else {
            None
        };
        Ok(Self {
            folder: folder.to_owned(),
            state,
        })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the run stored in `state.json`.
    #[must_use]
    pub fn state(&self) -> Option<&serde_json::Value> {
        self.state.as_ref().map(|file| &file.state)
    }

    /// Compares every file with the checksums in `state.json`.
    ///
    /// # Errors
    /// When a file is missing, or not as it was written.
    pub fn verify(&self) -> Result<(), CheckpointError> {
        let Some(state) = &self.state else {
            return Ok(());
        };
        for (name, expected) in &state.files {
            let path = self.folder.join(name);
            let found = digest(&path)?;
            if found != *expected {
                let problem = format!(
                    "{} bytes with checksum {}, expected {} bytes with checksum {}",
                    found.bytes, found.xxh3, expected.bytes, expected.xxh3
                );
                return Err(CheckpointError::Damaged { path, problem });
            }
        }
        Ok(())
    }

    /// Parameters and buffers.
    ///
    /// # Errors
    /// When the file cannot be read or is no safetensors file.
    pub fn model(&self) -> Result<TensorFile, CheckpointError> {
        TensorFile::open(&self.folder.join(MODEL_FILE))
    }

    /// Optimizer state; `None` where the folder has none.
    ///
    /// # Errors
    /// When the file cannot be read or is no safetensors file.
    pub fn optimizer(&self) -> Result<Option<TensorFile>, CheckpointError> {
        let path = self.folder.join(OPTIMIZER_FILE);
        if path.exists() {
            TensorFile::open(&path).map(Some)
        } else {
            Ok(None)
        }
    }
}

fn read_state(path: &Path) -> Result<StateFile, CheckpointError> {
    let damaged = |problem: String| CheckpointError::Damaged {
        path: path.to_owned(),
        problem,
    };
    let text = fs::read_to_string(path).map_err(CheckpointError::io("read", path))?;
    let state: StateFile =
        serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    if state.format != FORMAT {
        return Err(damaged(format!(
            "its format is {}, this program reads {FORMAT}",
            state.format
        )));
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torch::named::TensorSource;

    fn snapshot(global_step: u64) -> Snapshot {
        let weight = Tensor::from_slice(&[1.5_f32, -2.0, 0.25]).view([3, 1]);
        let steps = Tensor::from_slice(&[7_i64]);
        Snapshot {
            global_step,
            model: vec![("model.weight".to_owned(), weight.copy())],
            optimizer: vec![
                ("model.weight/exp_avg".to_owned(), weight),
                ("model.weight/step".to_owned(), steps),
            ],
            state: serde_json::json!({ "step": global_step }),
            is_copy: true,
        }
    }

    fn publish(save_dir: &Path, snapshot: Snapshot) -> Result<PathBuf, CheckpointError> {
        stage(save_dir, snapshot)?.publish()
    }

    #[test]
    fn what_is_published_reads_back_to_the_bit() {
        let dir = tempfile::tempdir().unwrap();
        let folder = publish(dir.path(), snapshot(4)).unwrap();
        assert_eq!(folder, dir.path().join("4"));
        let checkpoint = Checkpoint::open(&folder).unwrap();
        checkpoint.verify().unwrap();
        assert_eq!(checkpoint.state().unwrap()["step"], 4);
        let model = checkpoint.model().unwrap();
        assert_eq!(model.names(), ["model.weight"]);
        assert_eq!(model.shape("model.weight").unwrap(), [3, 1]);
        let weight = model.read("model.weight").unwrap();
        assert_eq!(
            Vec::<f32>::try_from(weight.view(-1)).unwrap(),
            [1.5, -2.0, 0.25]
        );
        let optimizer = checkpoint.optimizer().unwrap().unwrap();
        assert_eq!(
            optimizer.read("model.weight/step").unwrap().kind(),
            tch::Kind::Int64
        );
        assert!(optimizer.read("model.weight/max_exp_avg").is_err());
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing but the checkpoint is left"
        );
    }

    #[test]
    fn every_flipped_byte_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let folder = publish(dir.path(), snapshot(1)).unwrap();
        for name in [MODEL_FILE, OPTIMIZER_FILE] {
            let path = folder.join(name);
            let good = fs::read(&path).unwrap();
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 0x10;
                fs::write(&path, &bad).unwrap();
                let error = Checkpoint::open(&folder).unwrap().verify().unwrap_err();
                assert!(
                    matches!(error, CheckpointError::Damaged { .. }),
                    "byte {at} of {name}: {error}"
                );
            }
            fs::write(&path, &good).unwrap();
        }
    }

    #[test]
    fn a_step_that_is_there_already_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let folder = publish(dir.path(), snapshot(3)).unwrap();
        fs::write(folder.join("stray"), "x").unwrap();
        publish(dir.path(), snapshot(3)).unwrap();
        assert!(!folder.join("stray").exists());
        Checkpoint::open(&folder).unwrap().verify().unwrap();
    }

    #[test]
    fn a_folder_with_a_model_alone_opens_and_one_without_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let folder = publish(dir.path(), snapshot(1)).unwrap();
        fs::remove_file(folder.join(STATE_FILE)).unwrap();
        fs::remove_file(folder.join(OPTIMIZER_FILE)).unwrap();
        let bare = Checkpoint::open(&folder).unwrap();
        assert!(bare.state().is_none() && bare.optimizer().unwrap().is_none());
        fs::remove_file(folder.join(MODEL_FILE)).unwrap();
        assert!(matches!(
            Checkpoint::open(&folder),
            Err(CheckpointError::NotACheckpoint { .. })
        ));
    }
}
