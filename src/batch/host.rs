//! One batch on the host: plain numbers and strings, nothing of a device.

use std::sync::Arc;

/// The values of one host tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum HostValues {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit integers.
    I64(Vec<i64>),
    /// Booleans.
    Bool(Vec<bool>),
    /// Bytes 0 to 255 as numbers.
    U8(Vec<u8>),
    /// Strings of bytes; never reach a device.
    Bytes(Vec<Vec<u8>>),
    /// Rows of any length, one after another; the shape is `[B, longest row]`. Never reach a device.
    Ragged {
        /// Where each row ends in `values`.
        ends: Vec<usize>,
        /// `F32`, `I64` or `Bytes`.
        values: Box<HostValues>,
    },
}

/// A tensor on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Sizes, outermost first; the first is `B`.
    pub shape: Vec<usize>,
    /// As many values as the product of `shape`.
    pub values: HostValues,
}

/// One batch as it was read and preprocessed.
#[derive(Clone, Debug, PartialEq)]
pub struct HostBatch {
    /// `B`.
    pub rows: usize,
    /// Every feature by its name after renaming: `continuous` `[B, Fc]`, `binary` `[B, Fb]`, `discrete` `[B, Fd]`,
    /// the embeddings `[B, E]`, and what else was asked for.
    pub features: Vec<(Arc<str>, HostTensor)>,
    /// `[B, T]` in the order of the data tasks; absent in inference.
    pub labels: Option<HostTensor>,
    /// `[B, T]`; absent where every weight is one.
    pub weights: Option<HostTensor>,
}

impl HostBatch {
    /// The feature called `name`.
    #[must_use]
    pub fn feature(&self, name: &str) -> Option<&HostTensor> {
        self.features
            .iter()
            .find(|(known, _)| &**known == name)
            .map(|(_, tensor)| tensor)
    }
}

/// How wide the features of a batch are, after preprocessing: known from schema and config, before any data is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureWidths {
    /// `Fc`.
    pub continuous: usize,
    /// `Fb`.
    pub binary: usize,
    /// `Fd`; 0 where the data has no discrete features.
    pub discrete: usize,
    /// Width of `user_embedding`, if `renamed_features` has it.
    pub user_embedding: Option<usize>,
    /// Width of `user_eng_embedding`, if `renamed_features` has it.
    pub user_eng_embedding: Option<usize>,
    /// Width of `author_embedding`, if `renamed_features` has it.
    pub author_embedding: Option<usize>,
}
