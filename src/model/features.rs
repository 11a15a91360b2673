//! Everything below backbone and towers: a batch to one row of numbers per row.

use tch::Tensor;

use super::feature_transform::FeatureTransform;
use super::given_embedding::GivenEmbedding;
use super::input::{EmbeddingColumns, Layout, columns};
use super::position_debias::PositionDebias;
use super::scope::Builder;
use super::small_embedding::SmallEmbedding;
use super::width::{check_width, discrete_of};
use super::{Mode, ModelError};
use crate::batch::FeatureWidths;
use crate::config::ModelSpec;
use crate::torch::batch::Batch;

/// Transformed dense features, small embeddings, embeddings that come with the features, position: side by side.
#[derive(Debug)]
pub(super) struct Features {
    transform: FeatureTransform,
    small: Vec<SmallEmbedding>,
    given: Vec<GivenEmbedding>,
    position: Option<PositionDebias>,
    widths: FeatureWidths,
}

impl Features {
    pub(super) fn build(
        builder: &mut Builder,
        widths: &FeatureWidths,
        spec: &ModelSpec,
    ) -> Result<Self, ModelError> {
        let discrete = widths.discrete;
        let transform = FeatureTransform::build(builder, widths, &spec.features)?;
        let small = spec.small_embeddings.iter().enumerate();
        let small = small.map(|(i, spec)| SmallEmbedding::build(builder, i, discrete, spec));
        let small: Result<Vec<_>, _> = small.collect();
        let small = small?;
        let given = GivenEmbedding::build_all(builder, widths)?;
        let position = spec.position;
        let position = position.map(|spec| PositionDebias::build(builder, discrete, spec));
        Ok(Self {
            transform,
            small,
            given,
            position: position.transpose()?,
            widths: widths.clone(),
        })
    }

    /// Which columns are whose.
    pub(super) fn layout(&self) -> Layout {
        let columns_of = |name: &str, width| EmbeddingColumns {
            name: name.to_owned(),
            width,
        };
        let small = self.small.iter().map(|e| columns_of(&e.name, e.width));
        let given = self.given.iter().map(|e| columns_of(e.name, e.width()));
        let position = self
            .position
            .iter()
            .map(|e| columns_of("position", e.width));
        Layout {
            dense: columns(self.widths.continuous) + columns(self.widths.binary),
            embeddings: small.chain(given).chain(position).collect(),
        }
    }

    /// Checks that the batch has what the model was built for.
    pub(super) fn check(&self, batch: &Batch) -> Result<(), ModelError> {
        check_width("continuous", self.widths.continuous, &batch.continuous)?;
        check_width("binary", self.widths.binary, &batch.binary)?;
        for embedding in &self.given {
            embedding.check(batch)?;
        }
        if self.small.is_empty() && self.position.is_none() {
            return Ok(());
        }
        check_width("discrete", self.widths.discrete, discrete_of(batch)?)
    }

    /// `[B, layout().width()]`.
    pub(super) fn forward(&self, batch: &Batch, mode: Mode) -> Result<Tensor, ModelError> {
        let dense = self
            .transform
            .forward(&batch.continuous, &batch.binary, mode)?;
        let mut parts = vec![dense];
        for embedding in &self.small {
            parts.push(embedding.forward(discrete_of(batch)?)?);
        }
        for embedding in &self.given {
            parts.push(embedding.forward(batch)?);
        }
        if let Some(position) = &self.position {
            parts.push(position.forward(discrete_of(batch)?, mode)?);
        }
        match <[Tensor; 1]>::try_from(parts) {
            Ok([dense]) => Ok(dense),
            Err(parts) => Ok(Tensor::f_cat(&parts, 1)?),
        }
    }
}
