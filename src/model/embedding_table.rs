//! A table of learned vectors, one row per id.

use tch::Tensor;

use super::ModelError;
use super::scope::{Builder, Layer, Scope};
use crate::torch::TorchError;

/// The vectors.
#[derive(Debug)]
pub(super) struct EmbeddingTable {
    /// `[rows, width]`.
    weight: Tensor,
}

impl EmbeddingTable {
    /// A table that starts uniform over ± 1/√rows, so that longer tables start smaller.
    pub(super) fn build(
        builder: &mut Builder,
        scope: &Scope,
        rows: i64,
        width: i64,
    ) -> Result<Self, ModelError> {
        let bound = (rows as f64).sqrt().recip();
        let weight = builder.uniform(scope.tensor("weight"), &[rows, width], bound)?;
        builder.record(Layer {
            name: scope.name.clone(),
            kind: "Embedding",
            input: 1,
            output: width,
            parameters: rows * width,
            flops_per_row: 0,
        });
        Ok(Self { weight })
    }

    /// Rows of the table for ids `[B]` i64 from 0 below `rows` → `[B, width]`.
    pub(super) fn forward(&self, ids: &Tensor) -> Result<Tensor, TorchError> {
        const NO_PADDING: i64 = -1;
        let rows = Tensor::f_embedding(&self.weight, ids, NO_PADDING, false, false)?;
        Ok(rows)
    }

    /// The same row for every one of `count` rows → `[count, width]`, without a copy.
    pub(super) fn repeat(&self, id: i64, count: i64) -> Result<Tensor, TorchError> {
        let row = self.weight.f_narrow(0, id, 1)?;
        Ok(row.f_expand([count, -1], false)?)
    }
}
