//! Operations over many tensors in one call of libtorch.

use std::fmt;

use tch::Tensor;

use super::{TorchError, sys};

/// Handles to many tensors, made once and used every step. Each handle shares ownership of its tensor.
pub struct TensorList(cxx::UniquePtr<sys::ffi::TensorList>);

impl TensorList {
    /// A list of handles, in the order of `tensors`.
    #[must_use]
    pub fn new<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Self {
        Self(sys::list(tensors))
    }

    /// Whether the list holds no tensor.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The gradients of those tensors that have one.
    #[must_use]
    pub fn gradients(&self) -> Self {
        Self(sys::ffi::gradients(&self.0))
    }

    /// Lets go of the gradients of all tensors. The next backward pass then hands over its own buffers, which
    /// costs less than adding to zeros.
    pub fn clear_gradients(&self) {
        sys::ffi::clear_gradients(&self.0);
    }

    /// Adds 1 to every tensor in place.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn add_one(&self) -> Result<(), TorchError> {
        Ok(sys::ffi::foreach_add_one(&self.0)?)
    }

    /// L2 norm over all elements of all tensors, a scalar on their device.
    ///
    /// # Errors
    /// When the list is empty or spans devices.
    pub fn global_norm(&self) -> Result<Tensor, TorchError> {
        Ok(sys::from_cxx(sys::ffi::global_norm(&self.0)?))
    }

    /// Multiplies every tensor in place by the scalar tensor `factor`, without waiting for its value.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn scale(&self, factor: &Tensor) -> Result<(), TorchError> {
        Ok(sys::ffi::foreach_scale(&self.0, sys::as_cxx(factor))?)
    }
}

impl fmt::Debug for TensorList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TensorList").finish_non_exhaustive()
    }
}

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
pub struct AdamLists {
    /// Parameters; their gradients are read from them.
    pub params: TensorList,
    /// Means of gradients.
    pub exp_avgs: TensorList,
    /// Means of squared gradients.
    pub exp_avg_sqs: TensorList,
    /// Number of updates so far: f32 scalars.
    pub steps: TensorList,
}

/// One Adam update in place with libtorch's fused kernel (`torch.optim.Adam` semantics, no weight decay): counts the
/// update in `steps`, then moves the parameters. Parameters without a gradient are left out.
///
/// # Errors
/// When shapes, types or devices do not fit together.
pub fn adam(lists: &AdamLists, step: AdamStep) -> Result<(), TorchError> {
    Ok(sys::ffi::fused_adam(
        &lists.params.0,
        &lists.exp_avgs.0,
        &lists.exp_avg_sqs.0,
        &lists.steps.0,
        step.learning_rate,
        step.beta_1,
        step.beta_2,
        step.epsilon,
    )?)
}
