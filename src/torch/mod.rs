//! What tch lacks, behind one safe door, and the batch on a device.

pub mod batch;
pub mod device;
pub mod fused;
pub mod linear;
pub mod memory;
pub mod named;
pub mod precision;
pub mod process_group;
pub mod profile;
pub mod random;
mod sys;
mod sys_process_group;
mod sys_profile;
pub mod threads;
pub mod transfer;

/// libtorch said no.
#[derive(Debug, thiserror::Error)]
#[error("libtorch: {message}")]
pub struct TorchError {
    /// The first line of libtorch's message; the rest is a C++ stack.
    pub message: String,
}

impl TorchError {
    fn first_line(text: &str) -> Self {
        let message = text.lines().next().unwrap_or("unknown error").to_owned();
        Self { message }
    }
}

impl From<cxx::Exception> for TorchError {
    fn from(exception: cxx::Exception) -> Self {
        Self::first_line(exception.what())
    }
}

impl From<tch::TchError> for TorchError {
    fn from(error: tch::TchError) -> Self {
        match error {
            tch::TchError::Torch(text) => Self::first_line(&text),
            other => Self::first_line(&other.to_string()),
        }
    }
}
