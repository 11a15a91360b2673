//! One checkpoint on disk: files, checksums, atomic publication, reading back.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};
use xxhash_rust::xxh3::Xxh3;

use super::CheckpointError;

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

/// What one checkpoint holds, on the CPU and shared with nobody.
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

/// Writes `snapshot` and publishes it as `save_dir/<global_step>`, replacing a folder of that name.
///
/// # Errors
/// When the disk is full, a permission is missing, or a tensor cannot be read; nothing becomes visible then.
pub fn publish(save_dir: &Path, snapshot: &Snapshot) -> Result<PathBuf, CheckpointError> {
    let part = save_dir.join(format!(".writing-{}", snapshot.global_step));
    let written = write_into(&part, snapshot);
    if written.is_err() {
        // The error that matters is the one of writing.
        let _ = fs::remove_dir_all(&part);
    }
    written?;
    let folder = save_dir.join(snapshot.global_step.to_string());
    if folder.exists() {
        discard(save_dir, &folder)?;
    }
    fs::rename(&part, &folder).map_err(CheckpointError::io("publish", &folder))?;
    sync_folder(save_dir)?;
    Ok(folder)
}

fn write_into(part: &Path, snapshot: &Snapshot) -> Result<(), CheckpointError> {
    if part.exists() {
        fs::remove_dir_all(part).map_err(CheckpointError::io("remove", part))?;
    }
    fs::create_dir(part).map_err(CheckpointError::io("create", part))?;
    let mut files = BTreeMap::new();
    for (name, tensors) in [
        (MODEL_FILE, &snapshot.model),
        (OPTIMIZER_FILE, &snapshot.optimizer),
    ] {
        files.insert(name.to_owned(), write_tensors(&part.join(name), tensors)?);
    }
    let state = StateFile {
        format: FORMAT,
        state: snapshot.state.clone(),
        files,
    };
    let path = part.join(STATE_FILE);
    let write = || -> std::io::Result<()> {
        let file = File::create(&path)?;
        serde_json::to_writer_pretty(&file, &state)?;
        file.sync_all()
    };
    write().map_err(CheckpointError::io("write", &path))?;
    sync_folder(part)
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

/// Writes a safetensors file, flushes it to the disk and digests what then is there.
fn write_tensors(path: &Path, tensors: &Tensors) -> Result<FileDigest, CheckpointError> {
    let views = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), TensorView::of(tensor)));
    let views: Vec<_> = views
        .map(|(name, view)| view.map(|view| (name, view)))
        .collect::<Result<_, _>>()?;
    safetensors::serialize_to_file(views, None, path).map_err(|error| CheckpointError::Io {
        action: "write",
        path: path.to_owned(),
        source: match error {
            safetensors::SafeTensorError::IoError(source) => source,
            other => std::io::Error::other(other),
        },
    })?;
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(CheckpointError::io("flush", path))?;
    digest(path)
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

/// A CPU tensor as safetensors wants to see it; the bytes are copied out one tensor at a time.
struct TensorView<'a> {
    tensor: &'a Tensor,
    dtype: Dtype,
    shape: Vec<usize>,
}

impl<'a> TensorView<'a> {
    fn of(tensor: &'a Tensor) -> Result<Self, CheckpointError> {
        let dtype = dtype_of(tensor.kind()).ok_or_else(|| CheckpointError::Tensor {
            name: format!("of kind {:?}", tensor.kind()),
            source: tch::TchError::Kind("no safetensors type for it".to_owned()),
        })?;
        let shape = tensor
            .size()
            .iter()
            .map(|&size| usize::try_from(size).unwrap_or(0))
            .collect();
        Ok(Self {
            tensor,
            dtype,
            shape,
        })
    }
}

impl View for TensorView<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = vec![0; self.data_len()];
        self.tensor.copy_data_u8(&mut bytes, self.tensor.numel());
        bytes.into()
    }

    fn data_len(&self) -> usize {
        self.tensor.numel() * self.tensor.kind().elt_size_in_bytes()
    }
}

/// The kinds a checkpoint may hold.
const KINDS: [(Kind, Dtype); 8] = [
    (Kind::Float, Dtype::F32),
    (Kind::Double, Dtype::F64),
    (Kind::Half, Dtype::F16),
    (Kind::BFloat16, Dtype::BF16),
    (Kind::Int64, Dtype::I64),
    (Kind::Int, Dtype::I32),
    (Kind::Uint8, Dtype::U8),
    (Kind::Bool, Dtype::BOOL),
];

fn dtype_of(kind: Kind) -> Option<Dtype> {
    KINDS
        .iter()
        .find(|(known, _)| *known == kind)
        .map(|(_, dtype)| *dtype)
}

fn kind_of(dtype: Dtype) -> Option<Kind> {
    KINDS
        .iter()
        .find(|(_, known)| *known == dtype)
        .map(|(kind, _)| *kind)
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
    pub fn model(&self) -> Result<Tensors, CheckpointError> {
        read_tensors(&self.folder.join(MODEL_FILE))
    }

    /// Optimizer state; `None` where the folder has none.
    ///
    /// # Errors
    /// When the file cannot be read or is no safetensors file.
    pub fn optimizer(&self) -> Result<Option<Tensors>, CheckpointError> {
        let path = self.folder.join(OPTIMIZER_FILE);
        if path.exists() {
            read_tensors(&path).map(Some)
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

/// Reads every tensor of a safetensors file, in the order of the file.
///
/// # Errors
/// When the file cannot be read, is no safetensors file, or holds a type that has no use here.
pub fn read_tensors(path: &Path) -> Result<Tensors, CheckpointError> {
    let damaged = |problem: String| CheckpointError::Damaged {
        path: path.to_owned(),
        problem,
    };
    let bytes = fs::read(path).map_err(CheckpointError::io("read", path))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
    let mut tensors = Vec::with_capacity(file.len());
    for (name, view) in file.iter() {
        let kind = kind_of(view.dtype()).ok_or_else(|| {
            damaged(format!(
                "tensor {name} has the unsupported type {:?}",
                view.dtype()
            ))
        })?;
        let shape: Vec<i64> = view
            .shape()
            .iter()
            .map(|&size| i64::try_from(size).unwrap_or(i64::MAX))
            .collect();
        let tensor = Tensor::f_from_data_size(view.data(), &shape, kind).map_err(|source| {
            CheckpointError::Tensor {
                name: name.to_owned(),
                source,
            }
        })?;
        tensors.push((name.to_owned(), tensor));
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        }
    }

    #[test]
    fn what_is_published_reads_back_to_the_bit() {
        let dir = tempfile::tempdir().unwrap();
        let folder = publish(dir.path(), &snapshot(4)).unwrap();
        assert_eq!(folder, dir.path().join("4"));
        let checkpoint = Checkpoint::open(&folder).unwrap();
        checkpoint.verify().unwrap();
        assert_eq!(checkpoint.state().unwrap()["step"], 4);
        let model = checkpoint.model().unwrap();
        assert_eq!(model[0].0, "model.weight");
        assert_eq!(model[0].1.size(), [3, 1]);
        assert_eq!(
            Vec::<f32>::try_from(model[0].1.view(-1)).unwrap(),
            [1.5, -2.0, 0.25]
        );
        let optimizer = checkpoint.optimizer().unwrap().unwrap();
        let names: Vec<_> = optimizer
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor.kind()))
            .collect();
        assert!(
            names.contains(&("model.weight/step", Kind::Int64)),
            "{names:?}"
        );
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing but the checkpoint is left"
        );
    }

    #[test]
    fn every_flipped_byte_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let folder = publish(dir.path(), &snapshot(1)).unwrap();
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
        let folder = publish(dir.path(), &snapshot(3)).unwrap();
        fs::write(folder.join("stray"), "x").unwrap();
        publish(dir.path(), &snapshot(3)).unwrap();
        assert!(!folder.join("stray").exists());
        Checkpoint::open(&folder).unwrap().verify().unwrap();
    }

    #[test]
    fn a_folder_with_a_model_alone_opens_and_one_without_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let folder = publish(dir.path(), &snapshot(1)).unwrap();
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
