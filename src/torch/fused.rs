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

    /// The list as C++ has it.
    pub(super) fn inner(&self) -> &sys::ffi::TensorList {
        &self.0
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
        let fast = sys::ffi::global_norm_cpu(&self.0)?;
        if fast.is_null() {
            return Ok(sys::from_cxx(sys::ffi::global_norm(&self.0)?));
        }
        Ok(sys::from_cxx(fast))
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
/// With `found_inf`, an f32 scalar on the device of the parameters, nothing changes where it holds 1: the kernel itself
/// looks, so that the host need not wait for it.
///
/// # Errors
/// When shapes, types or devices do not fit together.
pub fn adam(
    lists: &AdamLists,
    step: AdamStep,
    found_inf: Option<&Tensor>,
) -> Result<(), TorchError> {
    Ok(sys::fused_adam(
        [
            &lists.params.0,
            &lists.exp_avgs.0,
            &lists.exp_avg_sqs.0,
            &lists.steps.0,
        ],
        step.learning_rate,
        [step.beta_1, step.beta_2],
        step.epsilon,
        found_inf,
    )?)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn tensors(kind: Kind) -> Vec<Tensor> {
        tch::manual_seed(1);
        // Odd sizes, one longer than what a thread takes at a time.
        let sizes: [&[i64]; 4] = [&[3], &[1, 7], &[], &[517, 801]];
        sizes
            .map(|size| Tensor::randn(size, (kind, Device::Cpu)))
            .into()
    }

    #[test]
    fn the_norm_of_many_threads_is_libtorchs() {
        let tensors = tensors(Kind::Float);
        let list = TensorList::new(&tensors);
        let found = list.global_norm().unwrap().double_value(&[]);
        let plain = sys::from_cxx(sys::ffi::global_norm(&list.0).unwrap()).double_value(&[]);
        assert!((found - plain).abs() < 1e-5 * plain, "{found} {plain}");
        let again = list.global_norm().unwrap().double_value(&[]);
        assert_eq!(found.to_bits(), again.to_bits());
    }

    #[test]
    fn other_types_take_libtorchs_norm() {
        let tensors = tensors(Kind::Double);
        let list = TensorList::new(&tensors);
        assert!(sys::ffi::global_norm_cpu(&list.0).unwrap().is_null());
        let squares: f64 = tensors
            .iter()
            .map(|t| (t * t).sum(Kind::Double).double_value(&[]))
            .sum();
        let found = list.global_norm().unwrap().double_value(&[]);
        assert!((found - squares.sqrt()).abs() < 1e-9 * found);
        assert!(TensorList::new([]).global_norm().is_err());
    }

    #[test]
    fn the_norm_shows_every_value_that_is_not_finite() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for place in [0_i64, 40, 263_000] {
                let tensor = Tensor::zeros([263_001], (Kind::Float, Device::Cpu));
                let _ = tensor.get(place).fill_(f64::from(bad));
                let norm = TensorList::new([&tensor]).global_norm().unwrap();
                assert!(!norm.double_value(&[]).is_finite(), "{bad} at {place}");
            }
        }
    }
}
