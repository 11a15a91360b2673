//! Checkpoints: how one is laid out and published ([`mod@format`]), and which to write, keep and resume from ([`manager`]);
//! [`torchsnapshot`] reads those of the original.
//!
//! A checkpoint is a folder `save_dir/<global_step>` with `model.safetensors`, `optimizer.safetensors` and `state.json`.
//! It appears by one rename, after everything in it is on the disk; what is visible is complete.

pub mod format;
pub mod manager;
pub mod tensor_file;
pub mod torchsnapshot;

use std::path::PathBuf;

pub use format::{Checkpoint, Snapshot, Staged};
pub use manager::Manager;
pub use tensor_file::TensorFile;
pub use torchsnapshot::TorchSnapshot;

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file or folder could not be created, written, read or renamed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another run holds the folder.
    #[error("{} is in use by another run: wait for it to end, or set training.save_dir to another folder", path.display())]
    Locked {
        /// `save_dir`.
        path: PathBuf,
    },
    /// A file of a checkpoint is not as it was written.
    #[error("{} is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How it differs.
        problem: String,
    },
    /// There is no checkpoint where one was named.
    #[error("{} is no checkpoint: it has no model.safetensors", path.display())]
    NotACheckpoint {
        /// The folder.
        path: PathBuf,
    },
    /// libtorch refused to copy a tensor.
    #[error("cannot copy tensor {name}")]
    Tensor {
        /// Its name.
        name: String,
        /// What libtorch said.
        source: tch::TchError,
    },
    /// The thread that writes checkpoints ended without a word.
    #[error("the checkpoint writer panicked: a bug in this program, its message stands above")]
    WriterPanicked,
}

impl CheckpointError {
    fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
