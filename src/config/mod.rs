//! The configuration: one YAML file, parsed once into types that cannot be wrong.
//!
//! One section per file. No torch, nothing of ours is imported here.

#[macro_use]
mod section;
mod data;
mod decode;
mod featurization;
mod layers;
mod model;
mod optimizer;
mod training;
mod value;

pub use data::*;
pub use decode::{ConfigError, load, parse};
pub use featurization::*;
pub use layers::*;
pub use model::*;
pub use optimizer::*;
pub use training::*;
pub use value::{PositiveFloat, PositiveInt};

section! {
    /// Everything one run is described by.
    pub struct RecapConfig {
        /// How long to train, where to save, when to log.
        pub training: TrainingConfig = TrainingConfig::default(),
        /// The ranking model.
        pub model: ModelConfig,
        /// The training data.
        pub train_data: RecapDataConfig,
        /// Named partitions to evaluate on.
        pub validation_data: IndexMap<String, RecapDataConfig>,
        /// Adam and the learning rates.
        pub optimizer: RecapOptimizerConfig,
        /// Which metrics to compute in evaluation (null: the default set).
        pub which_metrics: Option<String> = None,
    }
}
use indexmap::IndexMap;
