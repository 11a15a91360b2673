//! Checkpoints: how one is laid out ([`mod@format`]), published ([`publish`]) and read ([`opened`]), and which to write,
//! keep and resume from ([`manager`]); [`torchsnapshot`] reads those of the original.
//!
//! A checkpoint is a folder `save_dir/<global_step>` with `model.safetensors`, `optimizer.safetensors` and `state.json`.
//! It appears by one rename, after everything in it is on the disk; what is visible is complete. A folder without a
//! `state.json` of this program is somebody else's: it is neither read nor counted nor removed.
//!
//! What is *damaged* has been read and is not as it was written; the run goes on from the checkpoint before. What
//! *cannot be read* may be whole, so that it ends the run.

mod finite;
pub mod format;
mod listing;
pub mod lock;
pub mod manager;
pub mod opened;
pub mod publish;
mod record;
mod regular;
mod retention;
mod sealed;
mod staging;
mod state_file;
pub mod tensor_file;
#[cfg(test)]
mod test_support;
pub mod torchsnapshot;
mod writer;

use std::path::{Path, PathBuf};

pub use format::Snapshot;
pub use listing::{global_steps, newest_valid};
pub use manager::Manager;
pub use opened::Checkpoint;
pub use record::{RECORD_FILE, read_record, write_record};
pub use tensor_file::TensorFile;
pub use torchsnapshot::TorchSnapshot;
pub use writer::Targets;

use crate::{printable, whole_file};

/// Longest description of what is wrong with a file.
const MAX_PROBLEM_CHARS: usize = 1000;

/// Finds out whether checkpoints could be saved in `save_dir`, and leaves nothing behind.
///
/// # Errors
/// Those that a training would end with.
pub fn try_save_dir(save_dir: &Path) -> Result<(), CheckpointError> {
    whole_file::try_folder(save_dir).map_err(CheckpointError::Folder)
}

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
    /// Nothing can be saved in the folder of a run.
    #[error("training.save_dir: {0}")]
    Folder(whole_file::FolderError),
    /// A checkpoint that may be whole could not be looked at, so that nothing may go on without it.
    #[error(
        "checkpoint {} cannot be read, so that the run does not go on without it: make it readable, or move it out of \
         training.save_dir to go on from the one before",
        folder.display()
    )]
    Unreadable {
        /// The checkpoint.
        folder: PathBuf,
        /// Why.
        source: Box<CheckpointError>,
    },
    /// Another run holds the folder.
    #[error("{} is in use by another run: wait for it to end, or set training.save_dir to another folder", path.display())]
    Locked {
        /// `save_dir`.
        path: PathBuf,
    },
    /// The folder that this run holds is no longer the one of that name.
    #[error("{} was removed or replaced while this run had it: nothing more is saved there", path.display())]
    LockLost {
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
    /// A checkpoint of a later version of this program.
    #[error(
        "{} has format {format}, this program knows formats up to {known}: it comes from a newer version, use that one, \
         or another training.save_dir",
        path.display()
    )]
    Newer {
        /// Its `state.json`.
        path: PathBuf,
        /// Its format.
        format: u64,
        /// The newest format that this program reads.
        known: u64,
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
    /// The last update has overflowed, so that nothing is saved.
    #[error(
        "diverged: after step {global_step} `{name}` holds values that are not finite, so nothing is saved and the \
         checkpoints before stay; try a lower learning rate or training.max_grad_norm"
    )]
    NotFinite {
        /// The first such tensor.
        name: String,
        /// Steps over all ranks.
        global_step: u64,
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

    /// A file at `path` that has been read and cannot be used, because of `problem`.
    fn damaged(path: &Path, problem: impl AsRef<str>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            // Parsers repeat what they stumble over.
            problem: printable::short(problem.as_ref(), MAX_PROBLEM_CHARS).into_owned(),
        }
    }

    /// Whether the checkpoint has been read and is none that can be used, so that another may take its place.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::NotACheckpoint { .. })
    }
}
