//! One safetensors file: written tensor by tensor, read tensor by tensor.

use std::borrow::Cow;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, View};
use tch::{Device, Kind, Tensor};

use super::format::Tensors;
use super::{CheckpointError, regular};
use crate::torch::named::{SourceError, TensorSource};

/// Bytes of the length that a safetensors file begins with.
const LENGTH_BYTES: u64 = 8;

/// No header of a real model comes near this.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// A safetensors file whose header has been read; tensors are read when they are asked for.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    header: Metadata,
    /// Where the values begin, in bytes.
    data_begin: u64,
}

impl TensorFile {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// When the file cannot be read, or is no whole safetensors file.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        Self::of(path, regular::open(path)?)
    }

    /// The same where the file may be missing.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_if_there(path: &Path) -> Result<Option<Self>, CheckpointError> {
        let file = regular::open_if_there(path)?;
        file.map(|file| Self::of(path, file)).transpose()
    }

    fn of(path: &Path, mut file: File) -> Result<Self, CheckpointError> {
        let damaged = |problem: String| CheckpointError::damaged(path, problem);
        let found = file
            .metadata()
            .map_err(CheckpointError::io("read", path))?
            .len();
        let mut length = [0; 8];
        file.read_exact(&mut length)
            .map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => damaged(format!("{found} bytes are too few")),
                _ => CheckpointError::io("read", path)(error),
            })?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER_BYTES.min(found.saturating_sub(LENGTH_BYTES)) {
            return Err(damaged(format!(
                "its header of {length} bytes does not fit into {found} bytes"
            )));
        }
        let mut header = Vec::new();
        (&file)
            .take(length)
            .read_to_end(&mut header)
            .map_err(CheckpointError::io("read", path))?;
        let header: Metadata =
            serde_json::from_slice(&header).map_err(|error| damaged(error.to_string()))?;
        let values = header
            .tensors()
            .values()
            .map(|info| info.data_offsets.1)
            .max()
            .unwrap_or(0);
        let data_begin = LENGTH_BYTES + length;
        let expected = data_begin.saturating_add(values as u64);
        if expected != found {
            return Err(damaged(format!(
                "it has {found} bytes, its header says {expected}"
            )));
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            header,
            data_begin,
        })
    }

    fn read_values(&self, info: &TensorInfo) -> std::io::Result<Vec<u8>> {
        let (begin, end) = info.data_offsets;
        let mut bytes = vec![0; end - begin];
        self.file
            .read_exact_at(&mut bytes, self.data_begin + begin as u64)?;
        Ok(bytes)
    }
}

impl TensorSource for TensorFile {
    fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    fn shape(&self, name: &str) -> Option<Vec<i64>> {
        let info = self.header.info(name)?;
        info.shape
            .iter()
            .map(|&size| i64::try_from(size).ok())
            .collect()
    }

    fn read(&self, name: &str) -> Result<Tensor, SourceError> {
        let file = self.path.display();
        let info = self
            .header
            .info(name)
            .ok_or_else(|| format!("{file} has no tensor `{name}`"))?;
        let shape = self
            .shape(name)
            .ok_or_else(|| format!("tensor `{name}` in {file} is too large"))?;
        let kind = kind_of(info.dtype).ok_or_else(|| {
            format!(
                "tensor `{name}` in {file} has the unsupported type {:?}",
                info.dtype
            )
        })?;
        let bytes = self
            .read_values(info)
            .map_err(|error| format!("cannot read tensor `{name}` in {file}: {error}"))?;
        Ok(Tensor::f_from_data_size(&bytes, &shape, kind)?)
    }
}

/// Writes a safetensors file.
///
/// # Errors
/// When the disk is full, a permission is missing, or a tensor has a kind that safetensors does not know.
pub fn write(path: &Path, tensors: &Tensors) -> Result<(), CheckpointError> {
    let views = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), TensorView::of(name, tensor)));
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
    })
}

/// Waits until the file is on the disk.
///
/// # Errors
/// When the disk fails.
pub fn flush(path: &Path) -> Result<(), CheckpointError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(CheckpointError::io("flush", path))
}

/// A tensor as safetensors wants to see it; the bytes are copied out one tensor at a time.
struct TensorView {
    /// On the CPU.
    tensor: Tensor,
    dtype: Dtype,
    shape: Vec<usize>,
}

impl TensorView {
    fn of(name: &str, tensor: &Tensor) -> Result<Self, CheckpointError> {
        let failed = |source| CheckpointError::Tensor {
            name: name.to_owned(),
            source,
        };
        let dtype = dtype_of(tensor.kind()).ok_or_else(|| {
            let problem = format!("no safetensors type for {:?}", tensor.kind());
            failed(tch::TchError::Kind(problem))
        })?;
        let tensor = tensor.detach().f_to_device(Device::Cpu).map_err(failed)?;
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

impl View for TensorView {
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

/// The kinds a file may hold.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.safetensors");
        let tensors = vec![
            ("b".to_owned(), Tensor::from_slice(&[1_i64, -2])),
            (
                "a".to_owned(),
                Tensor::from_slice(&[0.5_f32, f32::NAN]).view([2, 1]),
            ),
            ("scalar".to_owned(), Tensor::from(3.0_f32)),
        ];
        write(&path, &tensors).unwrap();
        (dir, path)
    }

    #[test]
    fn kinds_shapes_and_bits_survive() {
        let (_dir, path) = file();
        let file = TensorFile::open(&path).unwrap();
        assert_eq!(
            Vec::<i64>::try_from(file.read("b").unwrap()).unwrap(),
            [1, -2]
        );
        let a = file.read("a").unwrap();
        assert_eq!((a.size(), a.kind()), (vec![2, 1], Kind::Float));
        assert!(a.double_value(&[1, 0]).is_nan());
        assert_eq!(file.shape("scalar").unwrap(), Vec::<i64>::new());
        assert_eq!(
            file.read("scalar").unwrap().double_value(&[]).to_bits(),
            3.0_f64.to_bits()
        );
    }

    #[test]
    fn a_file_cut_anywhere_is_damaged_not_a_panic() {
        let (_dir, path) = file();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(
                matches!(
                    TensorFile::open(&path),
                    Err(CheckpointError::Damaged { .. })
                ),
                "{length} bytes"
            );
        }
        let huge = [u64::MAX.to_le_bytes().as_slice(), &whole[8..]].concat();
        std::fs::write(&path, huge).unwrap();
        assert!(matches!(
            TensorFile::open(&path),
            Err(CheckpointError::Damaged { .. })
        ));
    }
}
