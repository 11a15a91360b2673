//! One batch on the host: plain numbers and strings, nothing of a device. A leaf: imports nothing of ours.
//!
//! Legend: `B` rows, `Fc`/`Fb`/`Fd` continuous/binary/discrete columns, `E` embedding width, `T` data tasks.

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

    /// The rows for which `keep` is true, in their order; `keep` has one entry a row.
    #[must_use]
    pub fn only(&self, keep: &[bool]) -> Self {
        let features = self.features.iter();
        Self {
            rows: keep.iter().filter(|&&keep| keep).count(),
            features: features
                .map(|(name, tensor)| (Arc::clone(name), tensor.only(keep)))
                .collect(),
            labels: self.labels.as_ref().map(|labels| labels.only(keep)),
            weights: self.weights.as_ref().map(|weights| weights.only(keep)),
        }
    }
}

impl HostTensor {
    /// The shape as libtorch takes it.
    #[must_use]
    pub fn sizes(&self) -> Vec<i64> {
        let sizes = self.shape.iter();
        sizes
            .map(|&size| i64::try_from(size).unwrap_or(i64::MAX))
            .collect()
    }

    fn only(&self, keep: &[bool]) -> Self {
        let mut shape = self.shape.clone();
        if let Some(rows) = shape.first_mut() {
            *rows = keep.iter().filter(|&&keep| keep).count();
        }
        Self {
            values: self.values.only(keep),
            shape,
        }
    }
}

impl HostValues {
    fn only(&self, keep: &[bool]) -> Self {
        fn of<T: Clone>(values: &[T], keep: &[bool]) -> Vec<T> {
            let width = values.len() / keep.len().max(1);
            let rows = values.chunks_exact(width.max(1)).zip(keep);
            rows.filter(|(_, keep)| **keep)
                .flat_map(|(row, _)| row.iter().cloned())
                .collect()
        }
        match self {
            Self::F32(values) => Self::F32(of(values, keep)),
            Self::I64(values) => Self::I64(of(values, keep)),
            Self::Bool(values) => Self::Bool(of(values, keep)),
            Self::U8(values) => Self::U8(of(values, keep)),
            Self::Bytes(values) => Self::Bytes(of(values, keep)),
            Self::Ragged { ends, values } => {
                let mut kept = vec![false; ends.last().copied().unwrap_or(0)];
                let (mut begin, mut new_ends, mut end) = (0, Vec::new(), 0);
                for (&row_end, &keep) in ends.iter().zip(keep) {
                    if keep {
                        kept[begin..row_end].fill(true);
                        end += row_end - begin;
                        new_ends.push(end);
                    }
                    begin = row_end;
                }
                let values = Box::new(values.only(&kept));
                Self::Ragged {
                    ends: new_ends,
                    values,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_can_be_left_out() {
        let tensor = |shape: &[usize], values| HostTensor {
            shape: shape.to_vec(),
            values,
        };
        let ragged = |ends: &[usize], values: &[i64]| HostValues::Ragged {
            ends: ends.to_vec(),
            values: Box::new(HostValues::I64(values.to_vec())),
        };
        let batch = HostBatch {
            rows: 3,
            features: vec![
                (
                    "wide".into(),
                    tensor(&[3, 2], HostValues::F32(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
                ),
                ("empty".into(), tensor(&[3, 0], HostValues::I64(Vec::new()))),
                (
                    "bag".into(),
                    tensor(&[3, 2], ragged(&[2, 3, 4], &[7, 8, 9, 10])),
                ),
            ],
            labels: Some(tensor(&[3, 1], HostValues::F32(vec![0.0, 1.0, 0.0]))),
            weights: None,
        };
        let kept = batch.only(&[true, false, true]);
        assert_eq!(kept.rows, 2);
        let wide = HostValues::F32(vec![1.0, 2.0, 5.0, 6.0]);
        assert_eq!(kept.feature("wide"), Some(&tensor(&[2, 2], wide)));
        assert_eq!(kept.feature("empty").unwrap().shape, [2, 0]);
        let bag = kept.feature("bag").unwrap();
        assert_eq!(bag.values, ragged(&[2, 3], &[7, 8, 10]));
        let labels = HostValues::F32(vec![0.0, 0.0]);
        assert_eq!(kept.labels, Some(tensor(&[2, 1], labels)));
        assert_eq!(batch.only(&[true; 3]), batch);
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
