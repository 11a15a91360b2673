//! One batch on a device, as the model takes it.
//!
//! Legend: `B` rows, `Fc`/`Fb`/`Fd` continuous/binary/discrete columns, `E` embedding width, `T` data tasks.

use tch::{Device, Kind, Tensor};

use crate::batch::{HostBatch, HostTensor, HostValues};

/// One batch on a device.
#[derive(Debug)]
pub struct Batch {
    /// `[B, Fc]` f32.
    pub continuous: Tensor,
    /// `[B, Fb]` f32.
    pub binary: Tensor,
    /// `[B, Fd]` i64, where the data has it.
    pub discrete: Option<Tensor>,
    /// `[B, E]` f32, where the data has it.
    pub user_embedding: Option<Tensor>,
    /// `[B, E]` f32, where the data has it.
    pub user_eng_embedding: Option<Tensor>,
    /// `[B, E]` f32, where the data has it.
    pub author_embedding: Option<Tensor>,
    /// `[B, T]` f32, in the order of the data tasks; absent in inference.
    pub labels: Option<Tensor>,
    /// `[B, T]` f32; absent where every weight is one.
    pub weights: Option<Tensor>,
}

impl Batch {
    /// The first feature, label or weight that is not a finite number in any row, or in `row` alone, and its first such
    /// row. Continuous features may be: the model replaces such values.
    #[must_use]
    pub fn first_non_finite(&self, row: Option<i64>) -> Option<(&'static str, usize)> {
        let inputs = [
            ("labels", self.labels.as_ref()),
            ("weights", self.weights.as_ref()),
            ("binary", Some(&self.binary)),
            ("user_embedding", self.user_embedding.as_ref()),
            ("user_eng_embedding", self.user_eng_embedding.as_ref()),
            ("author_embedding", self.author_embedding.as_ref()),
        ];
        inputs.into_iter().find_map(|(name, tensor)| {
            let rows = row.map_or(Some(tensor?.shallow_clone()), |row| {
                tensor?.f_narrow(0, row, 1).ok()
            })?;
            let bad = rows.f_isfinite().ok()?.f_logical_not().ok()?;
            let bad = bad.f_nonzero().ok()?;
            let first = (bad.size().first()? > &0).then(|| bad.int64_value(&[0, 0]))?;
            Some((name, usize::try_from(first + row.unwrap_or(0)).ok()?))
        })
    }

    /// Copies `host` to `device`, the features in f32 (`discrete` in i64).
    ///
    /// # Errors
    /// When a feature is missing or holds strings, or the device is out of memory.
    pub fn from_host(host: &HostBatch, device: Device) -> Result<Self, BatchError> {
        Self::from_host_with(host, |tensor| to_device(tensor, device))
    }

    /// The same, with `copy` as the way to the device: it gets tensors of numbers and keeps their shape and type.
    ///
    /// # Errors
    /// When a feature is missing or holds strings, or `copy` or the device fails.
    pub fn from_host_with(
        host: &HostBatch,
        copy: impl Fn(&HostTensor) -> Result<Tensor, tch::TchError>,
    ) -> Result<Self, BatchError> {
        let convert = |name: &'static str, tensor: &HostTensor, kind| {
            check(name, tensor)?;
            copy(tensor)
                .and_then(|tensor| tensor.f_to_kind(kind))
                .map_err(|source| BatchError::Torch { name, source })
        };
        let optional = |name: &'static str, kind| match host.feature(name) {
            Some(feature) => convert(name, feature, kind).map(Some),
            None => Ok(None),
        };
        let required = |name| optional(name, Kind::Float)?.ok_or(BatchError::Missing { name });
        let floats = |name, tensor: &Option<HostTensor>| {
            tensor
                .as_ref()
                .map(|tensor| convert(name, tensor, Kind::Float))
                .transpose()
        };
        Ok(Self {
            continuous: required("continuous")?,
            binary: required("binary")?,
            discrete: optional("discrete", Kind::Int64)?,
            user_embedding: optional("user_embedding", Kind::Float)?,
            user_eng_embedding: optional("user_eng_embedding", Kind::Float)?,
            author_embedding: optional("author_embedding", Kind::Float)?,
            labels: floats("labels", &host.labels)?,
            weights: floats("weights", &host.weights)?,
        })
    }

    /// All tensors of the batch.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        let optional = [
            &self.discrete,
            &self.user_embedding,
            &self.user_eng_embedding,
            &self.author_embedding,
            &self.labels,
            &self.weights,
        ];
        [&self.continuous, &self.binary]
            .into_iter()
            .chain(optional.into_iter().flatten())
    }

    /// `B`.
    #[must_use]
    pub fn rows(&self) -> i64 {
        self.continuous.size()[0]
    }
}

/// Copies the numbers of `tensor` to `device` as they are.
fn to_device(tensor: &HostTensor, device: Device) -> Result<Tensor, tch::TchError> {
    let host = match &tensor.values {
        HostValues::F32(values) => Tensor::f_from_slice(values),
        HostValues::I64(values) => Tensor::f_from_slice(values),
        HostValues::Bool(values) => Tensor::f_from_slice(values),
        HostValues::U8(values) => Tensor::f_from_slice(values),
        HostValues::Bytes(_) | HostValues::Ragged { .. } => {
            Err(tch::TchError::Torch("not numbers".to_owned()))
        }
    };
    host?.f_view(tensor.sizes().as_slice())?.f_to_device(device)
}

/// Whether the tensor called `name` can go to a device.
fn check(name: &'static str, tensor: &HostTensor) -> Result<(), BatchError> {
    match &tensor.values {
        HostValues::Bytes(_) => Err(BatchError::Strings { name }),
        HostValues::Ragged { .. } => Err(BatchError::Ragged { name }),
        _ => Ok(()),
    }
}

/// Why a host batch cannot go to a device.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// The model needs a feature that was not read.
    #[error("the batch has no feature `{name}`: add it to renamed_features or features")]
    Missing {
        /// The feature.
        name: &'static str,
    },
    /// Strings are no input of a model.
    #[error("feature `{name}` holds strings, the model needs numbers")]
    Strings {
        /// The feature.
        name: &'static str,
    },
    /// Rows of different lengths are no tensor.
    #[error("feature `{name}` has rows of different lengths, the model needs a fixed width")]
    Ragged {
        /// The feature.
        name: &'static str,
    },
    /// libtorch refused.
    #[error("cannot move feature `{name}` to the device")]
    Torch {
        /// The feature.
        name: &'static str,
        /// What libtorch said.
        source: tch::TchError,
    },
}
