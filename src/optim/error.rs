//! What can be wrong with an optimizer.

use crate::torch::TorchError;
use crate::torch::named::SourceError;

/// Why an optimizer cannot be built, stepped or loaded.
#[derive(Debug, thiserror::Error)]
pub enum OptimError {
    /// A value of the configuration does not make an optimizer.
    #[error("{key}: {problem}")]
    Config {
        /// The dotted path in the configuration.
        key: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// Nothing to train.
    #[error("the model has no parameters to train")]
    NoParameters,
    /// A saved state lacks a tensor, or has it in another shape.
    #[error("the optimizer state has no tensor `{name}` of shape {expected:?} (found {found:?})")]
    State {
        /// Its name.
        name: String,
        /// Its sizes.
        expected: Vec<i64>,
        /// Sizes in the source; `None` where it is missing.
        found: Option<Vec<i64>>,
    },
    /// A tensor could not be read.
    #[error("cannot read tensor `{name}`")]
    Read {
        /// Its name.
        name: String,
        /// Why.
        source: SourceError,
    },
    /// libtorch refused.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

impl From<tch::TchError> for OptimError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}
