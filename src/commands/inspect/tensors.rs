//! Batches as a safetensors file: `NAME.{i}` for every tensor of batch `i`.
//!
//! Rows of different lengths are written one after another, with the end of each row in `NAME.{i}.row_ends`; strings
//! as their bytes, with the end of each string in `NAME.{i}.string_ends`.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use safetensors::{Dtype, View};

use crate::batch::{HostBatch, HostTensor, HostValues};
use crate::whole_file::Draft;

/// Writes `batches`; the file appears when it is complete.
pub(super) fn write<'a>(
    path: &Path,
    batches: impl Iterator<Item = &'a HostBatch>,
) -> io::Result<()> {
    let mut views = Vec::new();
    for (index, batch) in batches.enumerate() {
        for (name, tensor) in &batch.features {
            add(&mut views, format!("{name}.{index}"), tensor);
        }
        if let Some(labels) = &batch.labels {
            add(&mut views, format!("labels.{index}"), labels);
        }
        let ones = || ones(batch);
        let weights = batch.weights.clone().or_else(ones);
        if let Some(weights) = &weights {
            add(&mut views, format!("weights.{index}"), weights);
        }
    }
    // The writer opens its file by name.
    let (draft, _file) = Draft::file(path)?;
    safetensors::serialize_to_file(views, None, draft.path()).map_err(|error| match error {
        safetensors::SafeTensorError::IoError(error) => error,
        other => io::Error::other(other),
    })?;
    draft.publish()
}

/// The weights of a batch where none are made: all ones.
fn ones(batch: &HostBatch) -> Option<HostTensor> {
    let shape = batch.labels.as_ref()?.shape.clone();
    let values = HostValues::F32(vec![1.0; shape.iter().product()]);
    Some(HostTensor { shape, values })
}

/// A tensor as safetensors wants to see it.
struct Bytes {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

fn add(views: &mut Vec<(String, Bytes)>, name: String, tensor: &HostTensor) {
    let (values, mut shape) = match &tensor.values {
        HostValues::Ragged { ends, values } => {
            views.push((format!("{name}.row_ends"), positions(ends.iter().copied())));
            (&**values, None)
        }
        values => (values, Some(tensor.shape.clone())),
    };
    let (dtype, data) = match values {
        HostValues::F32(values) => (Dtype::F32, le_bytes(values, |value| value.to_le_bytes())),
        HostValues::I64(values) => (Dtype::I64, le_bytes(values, |value| value.to_le_bytes())),
        HostValues::Bool(values) => (Dtype::BOOL, le_bytes(values, |&value| [u8::from(value)])),
        HostValues::U8(values) => (Dtype::U8, values.clone()),
        HostValues::Bytes(strings) => {
            let mut end = 0;
            let ends = strings.iter().map(|string| {
                end += string.len();
                end
            });
            views.push((format!("{name}.string_ends"), positions(ends)));
            shape = None;
            (Dtype::U8, strings.concat())
        }
        // Rows hold plain values.
        HostValues::Ragged { .. } => return,
    };
    let shape = shape.unwrap_or_else(|| vec![data.len() * 8 / dtype.bitsize()]);
    views.push((name, Bytes { dtype, shape, data }));
}

fn le_bytes<T, const N: usize>(values: &[T], bytes: impl Fn(&T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(bytes).collect()
}

fn positions(ends: impl Iterator<Item = usize>) -> Bytes {
    let data: Vec<u8> = ends.flat_map(|end| (end as u64).to_le_bytes()).collect();
    Bytes {
        dtype: Dtype::I64,
        shape: vec![data.len() / 8],
        data,
    }
}

impl View for Bytes {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }
}
