//! Checkpoints of the original, read only: `.snapshot_metadata` (a YAML manifest) and raw little-endian files.

mod manifest;
mod stored;

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use tch::{Device, TchError, Tensor};

use self::stored::{Piece, StoredTensor};
use super::{CheckpointError, regular};
use crate::torch::named::{SourceError, TensorSource};

const METADATA_FILE: &str = ".snapshot_metadata";

/// Where rank 0 keeps what a warm start needs; weights and optimizer state are the same on every rank.
const MODEL_PREFIX: &str = "0/model/";
const OPTIMIZER_PREFIX: &str = "0/optimizer/state/";

/// A snapshot folder that has been opened: its manifest is understood, no tensor is read yet.
#[derive(Debug)]
pub struct TorchSnapshot {
    /// Without links in it.
    folder: PathBuf,
    /// Under the whole keys of the manifest.
    tensors: IndexMap<String, StoredTensor>,
}

impl TorchSnapshot {
    /// Whether `folder` is a snapshot of the original.
    #[must_use]
    pub fn is_here(folder: &Path) -> bool {
        fs::symlink_metadata(folder.join(METADATA_FILE)).is_ok()
    }

    /// Reads the manifest.
    ///
    /// # Errors
    /// When it cannot be read or understood, or describes a tensor of the model or optimizer that cannot be.
    pub fn open(folder: &Path) -> Result<Self, CheckpointError> {
        let path = folder.join(METADATA_FILE);
        let text = regular::read(&path, manifest::MAX_BYTES)?;
        let damaged = |problem: String| CheckpointError::damaged(&path, problem);
        let mut tensors = IndexMap::new();
        for (key, entry) in manifest::parse(text).map_err(damaged)? {
            if !key.starts_with(MODEL_PREFIX) && !key.starts_with(OPTIMIZER_PREFIX) {
                continue;
            }
            let tensor = StoredTensor::of(entry)
                .map_err(|problem| damaged(format!("tensor {key:?}: {problem}")))?;
            if let Some(tensor) = tensor {
                tensors.insert(key, tensor);
            }
        }
        let folder = fs::canonicalize(folder).map_err(CheckpointError::io("read", folder))?;
        Ok(Self { folder, tensors })
    }

    /// Parameters and buffers under their own names.
    #[must_use]
    pub fn model(&self) -> Part<'_> {
        self.under(MODEL_PREFIX)
    }

    /// Optimizer state: `{parameter}/exp_avg`, `{parameter}/exp_avg_sq`, `{parameter}/step`.
    #[must_use]
    pub fn optimizer(&self) -> Part<'_> {
        self.under(OPTIMIZER_PREFIX)
    }

    fn under(&self, prefix: &'static str) -> Part<'_> {
        Part {
            snapshot: self,
            prefix,
        }
    }

    fn read(&self, tensor: &StoredTensor) -> Result<Tensor, SourceError> {
        let whole = Tensor::f_empty(&tensor.shape, (tensor.kind, Device::Cpu))?;
        for piece in &tensor.pieces {
            let bytes = self.read_piece(piece)?;
            let shape = piece.shape_in(&tensor.shape);
            let part = Tensor::f_from_data_size(&bytes, &shape, tensor.kind)?;
            place_of(&whole, piece)?.f_copy_(&part)?;
        }
        Ok(whole)
    }

    fn read_piece(&self, piece: &Piece) -> Result<Vec<u8>, CheckpointError> {
        let path = self.file(&piece.location)?;
        let mut file = regular::open(&path)?;
        let length = file
            .metadata()
            .map_err(CheckpointError::io("read", &path))?;
        let length = length.len();
        let (begin, end) = piece.range.unwrap_or((0, length));
        if end > length || end.checked_sub(begin) != Some(piece.bytes) {
            let needed = piece.bytes;
            let problem = format!("bytes {begin}..{end} of {length} are not the {needed} expected");
            return Err(CheckpointError::damaged(&path, problem));
        }
        let mut bytes = Vec::new();
        let read = file
            .seek(SeekFrom::Start(begin))
            .and_then(|_| (&file).take(piece.bytes).read_to_end(&mut bytes));
        read.map_err(CheckpointError::io("read", &path))?;
        Ok(bytes)
    }

    /// A file of the folder: neither names nor links of a manifest may lead out of it.
    fn file(&self, location: &str) -> Result<PathBuf, CheckpointError> {
        let named = self.folder.join(location);
        let path = match fs::canonicalize(&named) {
            Ok(path) => path,
            Err(error) if regular::is_absence(&error) => {
                return Err(CheckpointError::damaged(&named, "it is missing"));
            }
            Err(error) => return Err(CheckpointError::io("read", named)(error)),
        };
        if path.starts_with(&self.folder) {
            return Ok(path);
        }
        let problem = format!("location {location:?} leads out of the folder");
        let manifest = self.folder.join(METADATA_FILE);
        Err(CheckpointError::damaged(&manifest, problem))
    }
}

/// The rows of `whole` that `piece` holds.
fn place_of(whole: &Tensor, piece: &Piece) -> Result<Tensor, TchError> {
    match piece.rows {
        None => Ok(whole.shallow_clone()),
        Some((first, count)) => whole.f_narrow(0, first, count),
    }
}

/// The tensors of a snapshot under one prefix; each is read when it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    snapshot: &'a TorchSnapshot,
    prefix: &'static str,
}

impl Part<'_> {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names().is_empty()
    }

    fn stored(&self, name: &str) -> Option<&StoredTensor> {
        self.snapshot.tensors.get(&format!("{}{name}", self.prefix))
    }
}

impl TensorSource for Part<'_> {
    fn names(&self) -> Vec<String> {
        let keys = self.snapshot.tensors.keys();
        keys.filter_map(|key| Some(key.strip_prefix(self.prefix)?.to_owned()))
            .collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<i64>> {
        Some(self.stored(name)?.shape.clone())
    }

    fn read(&self, name: &str) -> Result<Tensor, SourceError> {
        let stored = self.stored(name);
        let stored = stored.ok_or_else(|| format!("the snapshot has no tensor {name:?}"))?;
        self.snapshot.read(stored)
    }
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
        let snapshot = TorchSnapshot::open(dir.path()).unwrap();
        assert_eq!(snapshot.model().names(), ["w"]);
        let w = snapshot.model().read("w").unwrap();
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
        let snapshot = TorchSnapshot::open(dir.path()).unwrap();
        let w = snapshot.model().read("w").unwrap();
        assert_eq!(Vec::<f32>::try_from(w).unwrap(), [2.0, 1.0]);
    }

    #[test]
    fn a_range_that_does_not_fit_and_a_way_out_are_refused() {
        for (location, range) in [
            ("batched/a", "[0, 4]"),
            ("batched/a", "[8, 16]"),
            ("batched/a", "[8, 0]"),
            ("batched/none", "[0, 8]"),
            ("batched/out", "[0, 8]"),
            ("batched/up/a", "[0, 8]"),
            ("batched", "[0, 8]"),
            ("../a", "[0, 8]"),
            ("/etc/hostname", "[0, 8]"),
        ] {
            let manifest = format!(
                r#""0/model/w": {{"type": "Tensor", "location": "{location}", {ENTRY}, "shape": [2], "byte_range": {range}}}"#
            );
            let dir = folder(&manifest, &[1.0, 2.0, 3.0]);
            let outside = tempfile::tempdir().unwrap();
            std::fs::write(outside.path().join("a"), [0; 8]).unwrap();
            let link = |to: &Path, name: &str| {
                std::os::unix::fs::symlink(to, dir.path().join(name)).unwrap();
            };
            link(&outside.path().join("a"), "batched/out");
            link(outside.path(), "batched/up");
            let read = TorchSnapshot::open(dir.path())
                .map_err(SourceError::from)
                .and_then(|snapshot| snapshot.model().read("w"));
            let error = read.unwrap_err();
            let error = error.downcast_ref::<CheckpointError>();
            assert!(
                error.is_some_and(CheckpointError::is_damage),
                "{location} {range}: {error:?}"
            );
        }
    }
}
