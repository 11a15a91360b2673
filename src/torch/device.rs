//! Which device to run on, and the loading of libtorch's CUDA part.

use tch::{Cuda, Device};

use super::{TorchError, sys::ffi};

/// Loads libtorch's CUDA part where there is one. Must come before any other question about CUDA.
///
/// Returns why there is none; that is no error: the CPU serves.
///
/// # Errors
/// When libtorch fails while it loads.
pub fn load_cuda() -> Result<Option<String>, TorchError> {
    let reason = ffi::load_cuda()?;
    Ok((!reason.is_empty()).then_some(reason))
}

/// `cuda:local_rank` where CUDA has such a device, else the CPU.
#[must_use]
pub fn choose(local_rank: usize) -> Device {
    if Cuda::is_available() {
        Device::Cuda(local_rank)
    } else {
        Device::Cpu
    }
}
