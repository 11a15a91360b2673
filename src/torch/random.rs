//! libtorch's random numbers.

use super::{TorchError, sys::ffi};

/// Seeds libtorch's generators: what is drawn from now on follows from `seed`.
///
/// # Errors
/// When libtorch refuses: its first generator asks the system for random bytes, which needs a free descriptor.
pub fn manual_seed(seed: i64) -> Result<(), TorchError> {
    Ok(ffi::manual_seed(seed)?)
}
