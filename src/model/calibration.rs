//! From logits to probabilities: the affine map before the sigmoid, the correction for sampled negatives after it.

use tch::{Kind, Tensor};

use super::ModelError;
use super::scope::{Builder, Layer, Scope};
use crate::config::AffineMapSpec;
use crate::torch::TorchError;

/// A scale and a shift learned on top of a logit: a Linear from 1 to 1.
#[derive(Debug)]
pub(super) struct LogitMap {
    /// `[1, 1]`.
    weight: Tensor,
    /// `[1]`.
    bias: Tensor,
}

impl LogitMap {
    pub(super) fn build(
        builder: &mut Builder,
        scope: &Scope,
        spec: AffineMapSpec,
    ) -> Result<Self, ModelError> {
        let weight = builder.constant(scope.tensor("weight"), &[1, 1], spec.scale.get())?;
        let bias = builder.constant(scope.tensor("bias"), &[1], spec.bias.get())?;
        builder.record(Layer {
            name: scope.name.clone(),
            kind: "Linear",
            input: 1,
            output: 1,
            parameters: 2,
            flops_per_row: 2,
        });
        Ok(Self { weight, bias })
    }

    /// `[B, 1]` → `[B, 1]`.
    pub(super) fn forward(&self, logit: &Tensor) -> Result<Tensor, TorchError> {
        Ok(logit.f_linear(&self.weight, Some(&self.bias))?)
    }
}

/// Undoes the shift of probabilities that sampling of negatives and positives causes.
#[derive(Debug)]
pub(super) struct Calibrator {
    /// Share of negatives kept over share of positives kept, a scalar.
    ratio: Tensor,
}

impl Calibrator {
    pub(super) fn build(
        builder: &mut Builder,
        scope: &Scope,
        ratio: f64,
    ) -> Result<Self, ModelError> {
        let ratio = builder.buffer(scope.tensor("ratio"), &[], ratio, Kind::Float)?;
        Ok(Self { ratio })
    }

    /// A handle to the ratio.
    pub(super) fn ratio(&self) -> Tensor {
        self.ratio.shallow_clone()
    }
}

/// p·r / (1 − p + r·p) for probabilities `[B, T]` and ratios `[T]`.
pub(super) fn calibrate(probabilities: &Tensor, ratios: &Tensor) -> Result<Tensor, TorchError> {
    let scaled = probabilities.f_mul(ratios)?;
    let rest = probabilities.f_neg()?.f_add_scalar(1.0)?;
    Ok(scaled.f_div(&rest.f_add(&scaled)?)?)
}
