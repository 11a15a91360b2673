//! Clipping of gradients by their global norm.

use tch::Tensor;

use super::OptimError;
use crate::torch::fused::TensorList;

/// Keeps the quotient finite where all gradients are 0, as `torch.nn.utils.clip_grad_norm_` does.
const TINY: f64 = 1e-6;

/// Scales `gradients`, whose global L2 norm is the scalar tensor `norm`, so that it is at most `max_norm`. Waits for
/// nothing.
pub(super) fn clip(gradients: &TensorList, norm: &Tensor, max_norm: f64) -> Result<(), OptimError> {
    let factor = norm
        .f_add_scalar(TINY)?
        .f_reciprocal()?
        .f_mul_scalar(max_norm)?;
    gradients.scale(&factor.f_clamp_max(1.0)?)?;
    Ok(())
}
