//! What can be wrong with a model.

use super::load_report::LoadReport;
use super::log_statistics::StatisticsError;
use crate::torch::TorchError;
use crate::torch::named::SourceError;

/// Why a model cannot be built, run or loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A value of the configuration does not fit the data, or another part of the model.
    #[error("{key}: {problem}")]
    Config {
        /// The dotted path in the configuration.
        key: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The statistics file of the feature transform does not fit.
    #[error("{key}: the statistics file cannot be used")]
    Statistics {
        /// The dotted path in the configuration.
        key: String,
        /// Why.
        source: StatisticsError,
    },
    /// A batch lacks a feature.
    #[error("the batch has no feature `{name}`, which the model was built for")]
    MissingFeature {
        /// The feature.
        name: &'static str,
    },
    /// A feature is not as wide as it was when the model was built.
    #[error("feature `{name}`: the model was built for {expected} columns, the batch has {found}")]
    FeatureWidth {
        /// The feature.
        name: &'static str,
        /// Columns the model was built for.
        expected: usize,
        /// Columns of the batch.
        found: i64,
    },
    /// BatchNorm has no variance to go by.
    #[error(
        "train_data.global_batch_size: a batch of one row cannot train the BatchNorm `{layer}`: use at least 2 rows \
         per rank"
    )]
    SingleRow {
        /// Parameter name of the first BatchNorm.
        layer: String,
    },
    /// A tensor is larger than what the system gives.
    #[error("there is no memory for `{name}` {shape:?}")]
    NoMemory {
        /// Parameter name.
        name: String,
        /// Its shape.
        shape: Vec<i64>,
    },
    /// A state does not fit the model.
    #[error("the state does not fit the model: {0}")]
    State(LoadReport),
    /// A tensor could not be read.
    #[error("cannot read tensor `{name}`")]
    Read {
        /// Its name in the source.
        name: String,
        /// Why.
        source: SourceError,
    },
    /// libtorch refused.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

impl ModelError {
    /// Whether another configuration would help.
    #[must_use]
    pub fn is_config(&self) -> bool {
        matches!(
            self,
            Self::Config { .. } | Self::Statistics { .. } | Self::SingleRow { .. }
        )
    }
}

impl From<tch::TchError> for ModelError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}
