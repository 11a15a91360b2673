//! What tch lacks, behind one safe door.

pub mod device;
pub mod fused;
pub mod precision;
mod sys;

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
