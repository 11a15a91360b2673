//! What a configuration means: values that cannot be wrong, made once from the sections, which say what the file says.
//!
//! One file per part, each with its types and the functions that make them. These report every problem to [`Rules`]
//! and go on with a value that stands in for what is wrong: whether the result may be used is known when all is read.

mod embeddings;
mod features;
mod model;
mod network;
mod number;
mod optimizer;

use std::path::Path as FilePath;

use super::decode::Decoder;
use super::error::{ConfigError, ProblemKind};
use super::path::Path;
use super::reports::Rules;
use super::{ModelConfig, RecapOptimizerConfig};

pub use embeddings::{PositionSpec, SmallEmbeddingSpec};
pub use features::{FeatureTransformSpec, LayerNormSpec};
pub use model::{AffineMapSpec, ModelSpec, Sharing, TaskSpec};
pub use network::{
    Aggregation, BatchNormSpec, DcnSpec, DlrmSpec, MaskBlockSpec, MaskNetSpec, MlpSpec, NetworkSpec,
};
pub use number::{Finite, Fraction, Magnitude, NonEmpty, NonNegative, Probability};
pub use optimizer::{AdamSpec, OptimizerSpec, Rates, Schedule};

pub(super) use embeddings::discrete_columns;
pub(super) use model::model;
pub(super) use optimizer::optimizer;

impl ModelConfig {
    /// The model that the section describes.
    ///
    /// # Errors
    /// When it describes none; never for a configuration that was loaded.
    pub fn spec(&self) -> Result<ModelSpec, ConfigError> {
        alone(|rules| model(self, rules))
    }
}

impl RecapOptimizerConfig {
    /// The optimizer that the section describes, for the tasks of `model`.
    ///
    /// # Errors
    /// When it describes none; never for a configuration that was loaded.
    pub fn spec(&self, model: &ModelConfig) -> Result<OptimizerSpec, ConfigError> {
        alone(|rules| optimizer(self, model, rules))
    }
}

/// What `make` makes, unless it reports a problem.
fn alone<T>(make: impl FnOnce(&mut Rules<'_>) -> T) -> Result<T, ConfigError> {
    let mut at = Decoder::default();
    let made = make(&mut Rules { at: &mut at });
    at.finish(FilePath::new("<text>")).map(|_| made)
}

impl Rules<'_> {
    /// The only one of `given` that is there, else the first; reports none or several where the decoder has not.
    fn only<T>(
        &mut self,
        given: impl IntoIterator<Item = Option<T>>,
        here: &Path,
        members: &str,
    ) -> Option<T> {
        let given: Vec<T> = given.into_iter().flatten().collect();
        if given.len() != 1 && self.can_read(here) && !self.at.is_blamed(here) {
            let mark = self.at.mark(here);
            let kind = ProblemKind::ExactlyOne {
                members: members.to_owned(),
                found: given.len().to_string(),
                remedy: "keep or add one",
            };
            self.at.report(here.clone(), &mark, kind);
        }
        given.into_iter().next()
    }
}
