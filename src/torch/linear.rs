//! Linear layers, with the faster of libtorch's two libraries for products.

use tch::Tensor;

use super::{TorchError, sys};

/// `x weightᵀ + bias`: `[B, in]`, `[out, in]`, `[out]` → `[B, out]`. As libtorch's `linear`, whose result it is except
/// in f32 on a CPU where [`uses_onednn`].
///
/// # Errors
/// When shapes do not fit together.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor, TorchError> {
    let [x, weight, bias] = [x, weight, bias].map(sys::as_cxx);
    Ok(sys::from_cxx(sys::ffi::linear(x, weight, bias)?))
}

/// Whether f32 products of Linear layers on the CPU are oneDNN's instead of MKL's. So it is from the start on CPUs of AMD
/// with AVX-512, which MKL uses on CPUs of Intel only.
#[must_use]
pub fn uses_onednn() -> bool {
    sys::ffi::uses_onednn()
}

/// Changes [`uses_onednn`], for the whole process; no effect in a libtorch without oneDNN.
pub fn use_onednn(on: bool) {
    sys::ffi::use_onednn(on);
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    /// Output and gradients of `x`, weight and bias, for a loss that weighs every output differently.
    fn run(onednn: bool) -> Vec<Tensor> {
        tch::manual_seed(1);
        let float = |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu));
        let factors = float(&[9, 5]);
        let leaves = [float(&[9, 33]), float(&[5, 33]), float(&[5])]
            .map(|tensor| tensor.set_requires_grad(true));
        let [x, weight, bias] = &leaves;
        let output = if onednn {
            let before = uses_onednn();
            use_onednn(true);
            let output = linear(x, weight, bias).unwrap();
            use_onednn(before);
            output
        } else {
            x.linear(weight, Some(bias))
        };
        (&output * factors).sum(Kind::Float).backward();
        std::iter::once(output)
            .chain(leaves.iter().map(Tensor::grad))
            .collect()
    }

    #[test]
    fn onednn_and_mkl_agree() {
        for (fast, plain) in run(true).iter().zip(run(false)) {
            assert_eq!(fast.size(), plain.size());
            assert!(fast.allclose(&plain, 1e-5, 1e-5, false));
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_an_error() {
        let zeros = |size: &[i64]| Tensor::zeros(size, (Kind::Float, Device::Cpu));
        assert!(linear(&zeros(&[2, 3]), &zeros(&[5, 4]), &zeros(&[5])).is_err());
    }
}
