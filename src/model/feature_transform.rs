//! The feature transform: raw dense features to numbers a network can learn from.

use tch::{Kind, Tensor};

use super::norm::{BatchNorm, LayerNorm};
use super::scope::{Builder, Scope};
use super::{Mode, ModelError};
use crate::config::{DoubleNormLogConfig, FeaturizationConfig, LayerNormConfig};
use crate::torch::TorchError;

/// `double_norm_log`: the log of each continuous feature, BatchNorm, clamp, the binary features beside it, LayerNorm.
#[derive(Debug)]
pub(super) struct FeatureTransform {
    batch_norm: Option<BatchNorm>,
    clamp: Clamp,
    layer_norm: Option<LayerNorm>,
}

impl FeatureTransform {
    /// `continuous` and `binary` are the columns of both.
    pub(super) fn build(
        builder: &mut Builder,
        scope: &Scope,
        continuous: i64,
        binary: i64,
        config: Option<&FeaturizationConfig>,
    ) -> Result<Self, ModelError> {
        let Some(config) = config else {
            return Err(scope.error("", "required: the ranking model reads transformed features"));
        };
        if config.feature_names_to_concat != ["binary"] {
            let problem = format!(
                "expected [binary], found [{}]",
                config.feature_names_to_concat.join(", ")
            );
            return Err(scope.error("feature_names_to_concat", problem));
        }
        match &config.double_norm_log_config {
            Some(config) => {
                let scope = scope.child("", "double_norm_log_config");
                Self::double_norm_log(builder, &scope, continuous, binary, config)
            }
            None => Err(scope.error("", "only double_norm_log_config is supported so far")),
        }
    }

    fn double_norm_log(
        builder: &mut Builder,
        scope: &Scope,
        continuous: i64,
        binary: i64,
        config: &DoubleNormLogConfig,
    ) -> Result<Self, ModelError> {
        let mut index = 2;
        let batch_norm = match &config.batch_norm_config {
            Some(config) => {
                let scope = scope.child("_before_concat_layers.2.layer", "batch_norm_config");
                index += 1;
                Some(BatchNorm::build(builder, &scope, continuous, config)?)
            }
            None => None,
        };
        let clamp = scope.child(&format!("_before_concat_layers.{index}"), "clip_magnitude");
        let clamp = Clamp::build(builder, &clamp, config.clip_magnitude)?;
        let layer_norm = match &config.layer_norm_config {
            Some(config) => {
                let scope = scope.child("layer_norm.layer", "layer_norm_config");
                Some(layer_norm(builder, &scope, continuous + binary, config)?)
            }
            None => None,
        };
        Ok(Self {
            batch_norm,
            clamp,
            layer_norm,
        })
    }

    /// `[B, Fc]`, `[B, Fb]` → `[B, Fc + Fb]`.
    pub(super) fn forward(
        &self,
        continuous: &Tensor,
        binary: &Tensor,
        mode: Mode,
    ) -> Result<Tensor, TorchError> {
        let x = signed_log(continuous)?;
        let x = match &self.batch_norm {
            Some(norm) => norm.forward(&x, mode)?,
            None => x,
        };
        let x = Tensor::f_cat(&[self.clamp.forward(&x)?, binary.f_to_kind(x.kind())?], 1)?;
        match &self.layer_norm {
            Some(norm) => norm.forward(&x),
            None => Ok(x),
        }
    }
}

/// sign(x)·log(1 + |x|); what is not finite counts as 0.
fn signed_log(x: &Tensor) -> Result<Tensor, TorchError> {
    let mut x = x.f_nan_to_num(0.0, 0.0, 0.0)?;
    let sign = x.f_sign()?;
    Ok(x.f_abs_()?.f_log1p_()?.f_mul_(&sign)?)
}

fn layer_norm(
    builder: &mut Builder,
    scope: &Scope,
    width: i64,
    config: &LayerNormConfig,
) -> Result<LayerNorm, ModelError> {
    if config.axis != -1 {
        let problem = format!("expected -1 (the columns), found {}", config.axis);
        return Err(scope.error("axis", problem));
    }
    if config.center != config.scale {
        let problem = format!(
            "expected the same as scale ({}), found {}",
            config.scale, config.center
        );
        return Err(scope.error("center", problem));
    }
    LayerNorm::build(builder, scope, width, config.epsilon, config.center)
}

/// Clamps to bounds that are part of the state.
#[derive(Debug)]
struct Clamp {
    min: Tensor,
    max: Tensor,
}

impl Clamp {
    fn build(builder: &mut Builder, scope: &Scope, magnitude: f64) -> Result<Self, ModelError> {
        let mut bound = |name, value| builder.buffer(scope.tensor(name), &[], value, Kind::Float);
        Ok(Self {
            min: bound("min_value", -magnitude)?,
            max: bound("max_value", magnitude)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, TorchError> {
        Ok(x.f_clamp_tensor(Some(&self.min), Some(&self.max))?)
    }
}
