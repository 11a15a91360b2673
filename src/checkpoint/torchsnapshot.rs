//! Checkpoints of the original, read only: `.snapshot_metadata` (a YAML manifest) and raw little-endian files.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use indexmap::IndexMap;
use serde::Deserialize;
use tch::{Kind, Tensor};

use super::CheckpointError;
use crate::torch::named::NamedTensors;

const METADATA_FILE: &str = ".snapshot_metadata";

/// Where rank 0 keeps what a warm start needs; weights and optimizer state are the same on every rank.
const MODEL_PREFIX: &str = "0/model/";
const OPTIMIZER_PREFIX: &str = "0/optimizer/state/";

#[derive(Debug, Deserialize)]
struct Metadata {
    manifest: IndexMap<String, Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum Entry {
    Tensor(TensorEntry),
    ChunkedTensor(ChunkedEntry),
    #[serde(other)]
    Other,
}

/// One tensor, a part of a file or all of it.
#[derive(Debug, Deserialize)]
struct TensorEntry {
    location: String,
    serializer: String,
    dtype: String,
    shape: Vec<i64>,
    byte_range: Option<(u64, u64)>,
}

/// A large tensor in pieces along its first dimension.
#[derive(Debug, Deserialize)]
struct ChunkedEntry {
    dtype: String,
    shape: Vec<i64>,
    chunks: Vec<Chunk>,
}

#[derive(Debug, Deserialize)]
struct Chunk {
    offsets: Vec<i64>,
    sizes: Vec<i64>,
    tensor: TensorEntry,
}

/// A snapshot folder that has been opened.
#[derive(Debug)]
pub struct TorchSnapshot {
    folder: PathBuf,
    manifest: IndexMap<String, Entry>,
}

impl TorchSnapshot {
    /// Whether `folder` is a snapshot of the original.
    #[must_use]
    pub fn is_here(folder: &Path) -> bool {
        folder.join(METADATA_FILE).is_file()
    }

    /// Reads the manifest.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn open(folder: &Path) -> Result<Self, CheckpointError> {
        let path = folder.join(METADATA_FILE);
        let text = std::fs::read_to_string(&path).map_err(CheckpointError::io("read", &path))?;
        let metadata: Metadata =
            serde_yaml::from_str(&text).map_err(|error| CheckpointError::Damaged {
                path,
                problem: error.to_string(),
            })?;
        Ok(Self {
            folder: folder.to_owned(),
            manifest: metadata.manifest,
        })
    }

    /// Parameters and buffers under their own names.
    ///
    /// # Errors
    /// When a file cannot be read or is too short.
    pub fn model(&self) -> Result<NamedTensors, CheckpointError> {
        self.under(MODEL_PREFIX)
    }

    /// Optimizer state: `{parameter}/exp_avg`, `{parameter}/exp_avg_sq`, `{parameter}/step`.
    ///
    /// # Errors
    /// When a file cannot be read or is too short.
    pub fn optimizer(&self) -> Result<NamedTensors, CheckpointError> {
        self.under(OPTIMIZER_PREFIX)
    }

    fn under(&self, prefix: &str) -> Result<NamedTensors, CheckpointError> {
        let mut tensors = NamedTensors::new();
        for (key, entry) in &self.manifest {
            let Some(name) = key.strip_prefix(prefix) else {
                continue;
            };
            let tensor = match entry {
                Entry::Tensor(entry) => self.read(entry)?,
                Entry::ChunkedTensor(entry) => self.assemble(name, entry)?,
                Entry::Other => continue,
            };
            tensors
                .push(name.to_owned(), tensor, false)
                .map_err(|error| CheckpointError::Damaged {
                    path: self.folder.join(METADATA_FILE),
                    problem: error.to_string(),
                })?;
        }
        Ok(tensors)
    }

    fn read(&self, entry: &TensorEntry) -> Result<Tensor, CheckpointError> {
        let path = self.file(&entry.location)?;
        let damaged = |problem: String| CheckpointError::Damaged {
            path: path.clone(),
            problem,
        };
        if entry.serializer != "buffer_protocol" {
            return Err(damaged(format!(
                "serializer {} is not supported, only buffer_protocol",
                entry.serializer
            )));
        }
        let kind = kind_of(&entry.dtype)
            .ok_or_else(|| damaged(format!("type {} is not supported", entry.dtype)))?;
        let expected = bytes_of(&entry.shape, kind)
            .ok_or_else(|| damaged(format!("shape {:?}", entry.shape)))?;
        let mut file = File::open(&path).map_err(CheckpointError::io("read", &path))?;
        let length = file
            .metadata()
            .map_err(CheckpointError::io("read", &path))?
            .len();
        let (begin, end) = entry.byte_range.unwrap_or((0, length));
        if end > length || end.checked_sub(begin) != Some(expected) {
            let problem = format!(
                "bytes {begin}..{end} of {length} cannot hold {:?} of {}",
                entry.shape, entry.dtype
            );
            return Err(damaged(problem));
        }
        let mut bytes =
            vec![0; usize::try_from(expected).map_err(|error| damaged(error.to_string()))?];
        let read = file
            .seek(SeekFrom::Start(begin))
            .and_then(|_| file.read_exact(&mut bytes));
        read.map_err(CheckpointError::io("read", &path))?;
        Tensor::f_from_data_size(&bytes, &entry.shape, kind).map_err(|source| {
            CheckpointError::Tensor {
                name: entry.location.clone(),
                source,
            }
        })
    }

    fn assemble(&self, name: &str, entry: &ChunkedEntry) -> Result<Tensor, CheckpointError> {
        let damaged = |problem| CheckpointError::Damaged {
            path: self.folder.join(METADATA_FILE),
            problem,
        };
        let kind = kind_of(&entry.dtype)
            .ok_or_else(|| damaged(format!("type {} of {name}", entry.dtype)))?;
        let whole = Tensor::zeros(&entry.shape, (kind, tch::Device::Cpu));
        for chunk in &entry.chunks {
            let part = self.read(&chunk.tensor)?;
            let mut place = chunk.offsets.iter().zip(&chunk.sizes).enumerate();
            let place = place.try_fold(whole.shallow_clone(), |view, (dim, (&offset, &size))| {
                view.f_narrow(i64::try_from(dim).unwrap_or_default(), offset, size)
            });
            let copied = place.and_then(|mut place| place.f_copy_(&part));
            copied.map_err(|source| CheckpointError::Tensor {
                name: name.to_owned(),
                source,
            })?;
        }
        Ok(whole)
    }

    /// A location inside the folder; a manifest may not lead out of it.
    fn file(&self, location: &str) -> Result<PathBuf, CheckpointError> {
        let inside = Path::new(location)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if !inside || location.is_empty() {
            let problem = format!("location {location} is outside the folder");
            return Err(CheckpointError::Damaged {
                path: self.folder.join(METADATA_FILE),
                problem,
            });
        }
        Ok(self.folder.join(location))
    }
}

fn kind_of(dtype: &str) -> Option<Kind> {
    Some(match dtype {
        "torch.float32" => Kind::Float,
        "torch.float64" => Kind::Double,
        "torch.float16" => Kind::Half,
        "torch.bfloat16" => Kind::BFloat16,
        "torch.int64" => Kind::Int64,
        "torch.int32" => Kind::Int,
        "torch.uint8" => Kind::Uint8,
        "torch.bool" => Kind::Bool,
        _ => return None,
    })
}

fn bytes_of(shape: &[i64], kind: Kind) -> Option<u64> {
    let size = u64::try_from(kind.elt_size_in_bytes()).ok()?;
    shape.iter().try_fold(size, |bytes, &dim| {
        bytes.checked_mul(u64::try_from(dim).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str =
        r#""serializer": "buffer_protocol", "dtype": "torch.float32", "replicated": false"#;

    fn folder(manifest: &str, file: &[f32]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let text =
            format!(r#"{{"version": "0.1.0", "world_size": 1, "manifest": {{{manifest}}}}}"#);
        std::fs::write(dir.path().join(METADATA_FILE), text).unwrap();
        std::fs::create_dir(dir.path().join("batched")).unwrap();
        let bytes: Vec<u8> = file.iter().flat_map(|value| value.to_le_bytes()).collect();
        std::fs::write(dir.path().join("batched/a"), bytes).unwrap();
        dir
    }

    #[test]
    fn a_tensor_is_a_range_of_a_file() {
        let manifest = format!(
            r#""0/model/w": {{"type": "Tensor", "location": "batched/a", {ENTRY}, "shape": [2, 1], "byte_range": [4, 12]}},
               "0/extra_state/step": {{"type": "int", "serialized_value": "4"}}"#
        );
        let dir = folder(&manifest, &[1.0, 2.0, 3.0]);
        let model = TorchSnapshot::open(dir.path()).unwrap().model().unwrap();
        assert_eq!(model.len(), 1);
        let w = &model.get("w").unwrap().tensor;
        assert_eq!(w.size(), [2, 1]);
        assert_eq!(Vec::<f32>::try_from(w.view(-1)).unwrap(), [2.0, 3.0]);
    }

    #[test]
    fn chunks_are_put_together() {
        let chunk = |offset: i64, begin: u64| {
            format!(
                r#"{{"offsets": [{offset}], "sizes": [1], "tensor":
                   {{"type": "Tensor", "location": "batched/a", {ENTRY}, "shape": [1], "byte_range": [{begin}, {}]}}}}"#,
                begin + 4
            )
        };
        let manifest = format!(
            r#""0/model/w": {{"type": "ChunkedTensor", "dtype": "torch.float32", "shape": [2], "chunks": [{}, {}]}}"#,
            chunk(1, 0),
            chunk(0, 4)
        );
        let dir = folder(&manifest, &[1.0, 2.0]);
        let model = TorchSnapshot::open(dir.path()).unwrap().model().unwrap();
        assert_eq!(
            Vec::<f32>::try_from(&model.get("w").unwrap().tensor).unwrap(),
            [2.0, 1.0]
        );
    }

    #[test]
    fn a_range_that_does_not_fit_and_a_way_out_are_refused() {
        for (location, range) in [
            ("batched/a", "[0, 4]"),
            ("batched/a", "[8, 16]"),
            ("batched/a", "[8, 0]"),
            ("../a", "[0, 8]"),
            ("/etc/hostname", "[0, 8]"),
        ] {
            let manifest = format!(
                r#""0/model/w": {{"type": "Tensor", "location": "{location}", {ENTRY}, "shape": [2], "byte_range": {range}}}"#
            );
            let dir = folder(&manifest, &[1.0, 2.0, 3.0]);
            let result = TorchSnapshot::open(dir.path()).unwrap().model();
            assert!(
                matches!(result, Err(CheckpointError::Damaged { .. })),
                "{location} {range}"
            );
        }
    }
}
