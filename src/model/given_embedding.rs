//! Embeddings that come with the features: each through a LayerNorm of its own.

use tch::Tensor;

use super::ModelError;
use super::input::columns;
use super::norm::{EPSILON, LayerNorm};
use super::scope::{Builder, Scope};
use super::width::check_width;
use crate::batch::FeatureWidths;
use crate::torch::batch::Batch;

/// An embedding that comes with the features.
#[derive(Debug)]
pub(super) struct GivenEmbedding {
    /// Its name in the batch.
    pub(super) name: &'static str,
    width: usize,
    norm: LayerNorm,
}

impl GivenEmbedding {
    /// Those that the data has, in the order they are concatenated.
    pub(super) fn build_all(
        builder: &mut Builder,
        widths: &FeatureWidths,
    ) -> Result<Vec<Self>, ModelError> {
        let present = [
            ("user_embedding", widths.user_embedding),
            ("user_eng_embedding", widths.user_eng_embedding),
            ("author_embedding", widths.author_embedding),
        ];
        let mut embeddings = Vec::new();
        for (name, width) in present {
            let Some(width) = width else { continue };
            let scope = Scope::new(format!("model._{name}_layer_norm"), "");
            let norm = LayerNorm::build(builder, &scope, columns(width), EPSILON, true)?;
            embeddings.push(Self { name, width, norm });
        }
        Ok(embeddings)
    }

    /// Columns.
    pub(super) fn width(&self) -> i64 {
        columns(self.width)
    }

    /// Checks that the batch has it, as wide as it was when the model was built.
    pub(super) fn check(&self, batch: &Batch) -> Result<(), ModelError> {
        check_width(self.name, self.width, self.of(batch)?)
    }

    /// `[B, width]`, normalised.
    pub(super) fn forward(&self, batch: &Batch) -> Result<Tensor, ModelError> {
        Ok(self.norm.forward(self.of(batch)?)?)
    }

    /// This embedding of every row as it came, `[B, width]`.
    fn of<'a>(&self, batch: &'a Batch) -> Result<&'a Tensor, ModelError> {
        let tensor = match self.name {
            "user_embedding" => &batch.user_embedding,
            "user_eng_embedding" => &batch.user_eng_embedding,
            _ => &batch.author_embedding,
        };
        tensor
            .as_ref()
            .ok_or(ModelError::MissingFeature { name: self.name })
    }
}
