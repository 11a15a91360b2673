//! Global number formats: TF32, bfloat16 autocast.

use tch::Device;

use super::{TorchError, sys::ffi};

/// Lets matrix products and cuDNN use TF32 (10-bit mantissa) on GPUs that have it. No effect on CPUs.
///
/// # Errors
/// When libtorch refuses.
pub fn set_tf32(on: bool) -> Result<(), TorchError> {
    Ok(ffi::set_tf32(on)?)
}

/// Runs `body` with matrix products in bfloat16 when `on`; elsewhere f32 stays.
///
/// # Errors
/// When libtorch refuses.
pub fn autocast_bf16<T>(
    on: bool,
    device: Device,
    body: impl FnOnce() -> T,
) -> Result<T, TorchError> {
    if !on {
        return Ok(body());
    }
    let guard = Autocast::enter(device.is_cuda())?;
    let result = body();
    guard.leave()?;
    Ok(result)
}

/// Autocast stays on while this lives, also when the body panics.
struct Autocast {
    cuda: bool,
}

impl Autocast {
    fn enter(cuda: bool) -> Result<Self, TorchError> {
        ffi::set_autocast(cuda, true)?;
        Ok(Self { cuda })
    }

    fn leave(self) -> Result<(), TorchError> {
        let cuda = self.cuda;
        std::mem::forget(self);
        Ok(ffi::set_autocast(cuda, false)?)
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        let _ = ffi::set_autocast(self.cuda, false);
    }
}
