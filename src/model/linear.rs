//! Linear: `y = x Wᵀ + b`.

use tch::Tensor;

use super::ModelError;
use super::scope::{Builder, Layer, Scope};
use crate::torch::TorchError;
use crate::torch::linear::linear;

/// A Linear layer; the weight starts Xavier uniform, the bias as 0.
#[derive(Debug)]
pub(super) struct Linear {
    /// `[out, in]`.
    weight: Tensor,
    /// `[out]`.
    bias: Tensor,
}

impl Linear {
    pub(super) fn build(
        builder: &mut Builder,
        scope: &Scope,
        input: i64,
        output: i64,
    ) -> Result<Self, ModelError> {
        let weight = builder.xavier(scope.tensor("weight"), output, input)?;
        let bias = builder.constant(scope.tensor("bias"), &[output], 0.0)?;
        builder.record(Layer {
            name: scope.name.clone(),
            kind: "Linear",
            input,
            output,
            parameters: input.saturating_mul(output).saturating_add(output),
            flops_per_row: input
                .saturating_mul(output)
                .saturating_mul(2)
                .saturating_add(output),
        });
        Ok(Self { weight, bias })
    }

    /// `[B, in]` → `[B, out]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, TorchError> {
        linear(x, &self.weight, &self.bias)
    }
}
