//! Clipping of gradients by their global norm.

use tch::Tensor;

use super::OptimError;
use crate::torch::fused::TensorList;

/// Keeps the quotient finite where all gradients are 0, as `torch.nn.utils.clip_grad_norm_` does.
const TINY: f64 = 1e-6;

/// Scales `gradients` so that their global L2 norm is at most `max_norm`; returns the norm before, a scalar on their
/// device.
pub(super) fn clip(gradients: &TensorList, max_norm: f64) -> Result<Tensor, OptimError> {
    let norm = gradients.global_norm()?;
    let factor = norm
        .f_add_scalar(TINY)?
        .f_reciprocal()?
        .f_mul_scalar(max_norm)?;
    gradients.scale(&factor.f_clamp_max(1.0)?)?;
    Ok(norm)
}
