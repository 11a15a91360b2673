//! What tch lacks, behind one safe door.

pub mod device;
pub mod fused;
pub mod precision;
pub mod process_group;
mod sys;
mod sys_process_group;

/// libtorch said no.
#[derive(Debug, thiserror::Error)]
#[error("libtorch: {message}")]
pub struct TorchError {
    /// The first line of libtorch's message; the rest is a C++ stack.
    pub message: String,
}

impl From<cxx::Exception> for TorchError {
    fn from(exception: cxx::Exception) -> Self {
        let message = exception
            .what()
            .lines()
            .next()
            .unwrap_or("unknown error")
            .to_owned();
        Self { message }
    }
}

impl From<tch::TchError> for TorchError {
    fn from(error: tch::TchError) -> Self {
        let message = error.to_string();
        let first = message.lines().next().unwrap_or("unknown error");
        Self {
            message: first.to_owned(),
        }
    }
}
