//! MaskNet (arXiv 2102.07619): blocks that multiply their input with a mask computed from the network's input.

use tch::Tensor;

use super::linear::Linear;
use super::mlp::Mlp;
use super::norm::{EPSILON, LayerNorm};
use super::scope::{Builder, Scope};
use super::{Mode, ModelError};
use crate::config::{Aggregation, MaskBlockSpec, MaskNetSpec};
use crate::torch::TorchError;

/// One block: `LayerNorm(Linear(net ⊙ mask(mask_input)))`.
#[derive(Debug)]
struct MaskBlock {
    input_layer_norm: Option<LayerNorm>,
    aggregate: Linear,
    mask: Linear,
    hidden: Linear,
    layer_norm: LayerNorm,
}

impl MaskBlock {
    fn build(
        builder: &mut Builder,
        scope: &Scope,
        input: i64,
        mask_input: i64,
        spec: MaskBlockSpec,
    ) -> Result<Self, ModelError> {
        let output = spec.output.to_i64();
        let aggregation = aggregation_size(spec.aggregation, mask_input);
        let norm = scope.child("_input_layer_norm", "");
        let input_layer_norm = spec
            .input_layer_norm
            .then(|| LayerNorm::build(builder, &norm, input, EPSILON, true))
            .transpose()?;
        let mut linear = |name, from, to| Linear::build(builder, &scope.child(name, ""), from, to);
        let aggregate = linear("_mask_layer.0", mask_input, aggregation)?;
        let mask = linear("_mask_layer.2", aggregation, input)?;
        let hidden = linear("_hidden_layer", input, output)?;
        let norm = scope.child("_layer_norm", "");
        let layer_norm = LayerNorm::build(builder, &norm, output, EPSILON, true)?;
        Ok(Self {
            input_layer_norm,
            aggregate,
            mask,
            hidden,
            layer_norm,
        })
    }

    /// `[B, in]`, `[B, mask_in]` → `[B, output_size]`.
    fn forward(&self, net: &Tensor, mask_input: &Tensor) -> Result<Tensor, TorchError> {
        let mask = self.aggregate.forward(mask_input)?.f_relu()?;
        let mask = self.mask.forward(&mask)?;
        let masked = match &self.input_layer_norm {
            Some(norm) => norm.forward(net)?.f_mul(&mask)?,
            None => net.f_mul(&mask)?,
        };
        self.layer_norm.forward(&self.hidden.forward(&masked)?)
    }
}

/// Hidden width of the mask; 0 is allowed: the mask is then its bias.
#[allow(
    clippy::cast_possible_truncation,
    reason = "cut to a whole number on purpose; a huge factor saturates"
)]
fn aggregation_size(aggregation: Aggregation, mask_input: i64) -> i64 {
    match aggregation {
        Aggregation::Size(size) => size.to_i64(),
        Aggregation::Factor(factor) => (mask_input as f64 * factor.get()) as i64,
    }
}

/// Blocks side by side or one after another, then an MLP.
#[derive(Debug)]
pub(super) struct MaskNet {
    blocks: Vec<MaskBlock>,
    parallel: bool,
    dense: Option<Mlp>,
    out_features: i64,
}

impl MaskNet {
    pub(super) fn build(
        builder: &mut Builder,
        scope: &Scope,
        input: i64,
        spec: &MaskNetSpec,
    ) -> Result<Self, ModelError> {
        let mut blocks = Vec::with_capacity(spec.blocks.len());
        let mut net = input;
        for (k, &block) in spec.blocks.iter().enumerate() {
            let scope = scope.child(&format!("_mask_blocks.{k}"), "");
            blocks.push(MaskBlock::build(builder, &scope, net, input, block)?);
            if !spec.parallel {
                net = block.output.to_i64();
            }
        }
        let width = spec.width().cast_signed();
        let scope = scope.child("_dense_layers", "");
        let dense = spec.mlp.as_ref();
        let dense = dense
            .map(|mlp| Mlp::build(builder, &scope, width, mlp))
            .transpose()?;
        Ok(Self {
            out_features: dense.as_ref().map_or(width, Mlp::out_features),
            blocks,
            parallel: spec.parallel,
            dense,
        })
    }

    /// Columns of the output.
    pub(super) fn out_features(&self) -> i64 {
        self.out_features
    }

    /// `[B, in]` → `[B, out_features]`.
    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor, TorchError> {
        let net = if self.parallel {
            let outputs = self.blocks.iter().map(|block| block.forward(x, x));
            Tensor::f_cat(&outputs.collect::<Result<Vec<_>, _>>()?, 1)?
        } else {
            let first = Ok(x.shallow_clone());
            let mut blocks = self.blocks.iter();
            blocks.try_fold(first, |net, block| net.map(|net| block.forward(&net, x)))??
        };
        match &self.dense {
            Some(dense) => dense.forward(&net, mode),
            None => Ok(net),
        }
    }
}
