//! libtorch's profiler (Kineto): records what a few steps do into a Chrome trace, and names parts of a step in it.

use std::fmt;
use std::path::Path;

use super::TorchError;
use super::sys_profile::ffi;

/// A part of the trace, from [`range`] until this is dropped.
pub struct Range {
    _inner: cxx::UniquePtr<ffi::Range>,
}

impl fmt::Debug for Range {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Range").finish_non_exhaustive()
    }
}

/// Names what this thread does from now on, until the range is dropped. Costs next to nothing while nothing is recorded.
#[must_use]
pub fn range(name: &str) -> Range {
    Range {
        _inner: ffi::begin_range(name),
    }
}

/// Starts to record the operations of this thread, of the backward passes it asks for, and of the GPU if `cuda`.
///
/// # Errors
/// When libtorch refuses, because it records already, say.
pub fn start(cuda: bool) -> Result<(), TorchError> {
    Ok(ffi::start_profile(cuda)?)
}

/// Ends the recording and writes it to `path` as a Chrome trace (JSON; `chrome://tracing` and Perfetto open it).
///
/// # Errors
/// When nothing is being recorded.
pub fn stop(path: &Path) -> Result<(), TorchError> {
    Ok(ffi::stop_profile(&path.display().to_string())?)
}
