//! LayerNorm over the columns of a row, BatchNorm over the rows of a batch, dropout.

use tch::{Kind, Tensor};

use super::scope::{Builder, Layer, Scope};
use super::{Mode, ModelError};
use crate::config::{BatchNormSpec, Fraction};
use crate::torch::TorchError;

/// Epsilon where the configuration has no say.
pub(super) const EPSILON: f64 = 1e-5;

/// LayerNorm over the last dimension.
#[derive(Debug)]
pub(super) struct LayerNorm {
    /// Weight and bias, both `[width]`.
    affine: Option<(Tensor, Tensor)>,
    width: i64,
    epsilon: f64,
}

impl LayerNorm {
    pub(super) fn build(
        builder: &mut Builder,
        scope: &Scope,
        width: i64,
        epsilon: f64,
        affine: bool,
    ) -> Result<Self, ModelError> {
        builder.record(Layer {
            name: scope.name.clone(),
            kind: "LayerNorm",
            input: width,
            output: width,
            parameters: if affine { 2 * width } else { 0 },
            flops_per_row: 8 * width,
        });
        let affine = affine.then(|| weight_and_bias(builder, scope, width));
        Ok(Self {
            affine: affine.transpose()?,
            width,
            epsilon,
        })
    }

    /// `[B, width]` → `[B, width]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, TorchError> {
        let (weight, bias) = halves(self.affine.as_ref());
        Ok(x.f_layer_norm(self.width, weight, bias, self.epsilon, true)?)
    }
}

/// BatchNorm1d.
#[derive(Debug)]
pub(super) struct BatchNorm {
    /// Weight and bias, both `[width]`.
    affine: Option<(Tensor, Tensor)>,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: f64,
}

impl BatchNorm {
    pub(super) fn build(
        builder: &mut Builder,
        scope: &Scope,
        width: i64,
        spec: BatchNormSpec,
    ) -> Result<Self, ModelError> {
        builder.record(Layer {
            name: scope.name.clone(),
            kind: "BatchNorm",
            input: width,
            output: width,
            parameters: if spec.affine { 2 * width } else { 0 },
            flops_per_row: 8 * width,
        });
        let affine = spec.affine.then(|| weight_and_bias(builder, scope, width));
        let affine = affine.transpose()?;
        let mut statistic =
            |name, value| builder.buffer(scope.tensor(name), &[width], value, Kind::Float);
        let running_mean = statistic("running_mean", 0.0)?;
        let running_var = statistic("running_var", 1.0)?;
        // Counted by the ranker, for all BatchNorm layers at once.
        let _ = builder.buffer(scope.tensor("num_batches_tracked"), &[], 0.0, Kind::Int64)?;
        Ok(Self {
            affine,
            running_mean,
            running_var,
            momentum: spec.momentum.get(),
        })
    }

    /// `[B, width]` → `[B, width]`; in training also moves the running statistics.
    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor, TorchError> {
        let (weight, bias) = halves(self.affine.as_ref());
        Ok(x.f_batch_norm(
            weight,
            bias,
            Some(&self.running_mean),
            Some(&self.running_var),
            mode.is_train(),
            self.momentum,
            EPSILON,
            true,
        )?)
    }
}

/// Dropout: in training every value is dropped with probability `rate`, the others are scaled to make up for it.
#[derive(Debug)]
pub(super) struct Dropout {
    pub(super) rate: Fraction,
}

impl Dropout {
    /// `[B, width]` → `[B, width]`.
    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor, TorchError> {
        Ok(x.f_dropout(self.rate.get(), mode.is_train())?)
    }
}

fn weight_and_bias(
    builder: &mut Builder,
    scope: &Scope,
    width: i64,
) -> Result<(Tensor, Tensor), ModelError> {
    let weight = builder.constant(scope.tensor("weight"), &[width], 1.0)?;
    let bias = builder.constant(scope.tensor("bias"), &[width], 0.0)?;
    Ok((weight, bias))
}

fn halves(affine: Option<&(Tensor, Tensor)>) -> (Option<&Tensor>, Option<&Tensor>) {
    (
        affine.map(|(weight, _)| weight),
        affine.map(|(_, bias)| bias),
    )
}
