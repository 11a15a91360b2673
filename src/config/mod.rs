//! The configuration: one YAML file, parsed once into types that cannot be wrong.
//!
//! One section per file: they say what the file says, and `spec` makes of model and optimizer values that cannot be
//! wrong. No torch; of ours only leaves for every room are imported here.

#[macro_use]
mod section;
mod coerce;
mod conversion;
mod data;
mod decode;
mod error;
mod featurization;
mod hints;
mod layers;
mod load;
mod loaded;
mod model;
mod node;
mod optimizer;
mod overrides;
mod path;
mod patterns;
mod places;
mod reports;
mod resolved;
mod rules;
mod scalar;
mod schema;
mod spec;
mod substitute;
mod syntax;
mod training;
mod validate;
mod validate_columns;
mod validate_data;
mod value;
mod yaml;

use indexmap::IndexMap;

pub use conversion::*;
pub use data::*;
pub use decode::Decode;
pub use error::{ConfigError, Problem, Report};
pub use featurization::*;
pub use layers::*;
pub use load::{load, load_recap, load_recap_with, parse, parse_recap, parse_with};
pub use loaded::{Loaded, Origin, Origins};
pub use model::*;
pub use optimizer::*;
pub use patterns::Patterns;
pub use schema::{Field, SectionShape, Shape};
pub use spec::{
    AdamSpec, AffineMapSpec, Aggregation, BatchNormSpec, DcnSpec, DlrmSpec, FeatureTransformSpec,
    Finite, Fraction, LayerNormSpec, Magnitude, MaskBlockSpec, MaskNetSpec, MlpSpec, ModelSpec,
    NetworkSpec, NonEmpty, NonNegative, OptimizerSpec, PositionSpec, Probability, Rates, Schedule,
    Sharing, SmallEmbeddingSpec, TaskSpec,
};
pub use substitute::Lookup;
pub use training::*;
pub use value::{Depth, NumOpenFiles, NumThreads, PositiveFloat, PositiveInt, Seconds, Size};

section! {
    /// Everything one run is described by.
    pub struct RecapConfig {
        /// How long to train, where to save, when to log.
        pub training: TrainingConfig = TrainingConfig::default(),
        /// The ranking model: what it reads, how it is wired, which tasks it predicts.
        pub model: ModelConfig,
        /// The training data: files, schema, labels, batch size, preprocessing.
        pub train_data: RecapDataConfig,
        /// Named partitions to evaluate on, each like `train_data`; `{}` for none.
        pub validation_data: IndexMap<String, RecapDataConfig>,
        /// Adam and the learning rates.
        pub optimizer: RecapOptimizerConfig,
        /// Names of the metrics to compute in evaluation, separated by commas (null: the default set).
        pub which_metrics: Option<String> = None,
    }
}
