//! Operations over many tensors in one call of libtorch.

use tch::Tensor;

use super::{TorchError, sys};

/// Constants of one Adam update.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// Learning rate.
    pub learning_rate: f64,
    /// Decay of the mean of gradients.
    pub beta_1: f64,
    /// Decay of the mean of squared gradients.
    pub beta_2: f64,
    /// Added to the square root of the corrected second moment.
    pub epsilon: f64,
}

/// The tensors of one group, position by position; all lists have the same length.
#[derive(Debug)]
pub struct AdamTensors<'a> {
    /// Parameters, updated in place.
    pub params: &'a [Tensor],
    /// Their gradients.
    pub grads: &'a [Tensor],
    /// Means of gradients, updated in place.
    pub exp_avgs: &'a [Tensor],
    /// Means of squared gradients, updated in place.
    pub exp_avg_sqs: &'a [Tensor],
    /// Number of updates including this one: f32 scalars.
    pub steps: &'a [Tensor],
}

/// One Adam update with libtorch's fused kernel (`torch.optim.Adam` semantics, no weight decay).
///
/// # Errors
/// When shapes, types or devices do not fit together.
pub fn adam(tensors: &AdamTensors<'_>, step: AdamStep) -> Result<(), TorchError> {
    sys::ffi::fused_adam(
        sys::list(tensors.params).pin_mut(),
        &*sys::list(tensors.grads),
        sys::list(tensors.exp_avgs).pin_mut(),
        sys::list(tensors.exp_avg_sqs).pin_mut(),
        &*sys::list(tensors.steps),
        step.learning_rate,
        step.beta_1,
        step.beta_2,
        step.epsilon,
    )?;
    Ok(())
}

/// Adds 1 to every tensor.
///
/// # Errors
/// When libtorch refuses.
pub fn add_one(tensors: &[Tensor]) -> Result<(), TorchError> {
    Ok(sys::ffi::foreach_add_one(sys::list(tensors).pin_mut())?)
}

/// L2 norm over all elements of all tensors, a scalar on their device.
///
/// # Errors
/// When the list is empty or spans devices.
pub fn global_norm(tensors: &[Tensor]) -> Result<Tensor, TorchError> {
    Ok(sys::from_cxx(sys::ffi::global_norm(&*sys::list(tensors))?))
}

/// Multiplies every tensor by the scalar tensor `factor`, without waiting for its value.
///
/// # Errors
/// When libtorch refuses.
pub fn scale(tensors: &[Tensor], factor: &Tensor) -> Result<(), TorchError> {
    Ok(sys::ffi::foreach_scale(
        sys::list(tensors).pin_mut(),
        sys::as_cxx(factor),
    )?)
}
