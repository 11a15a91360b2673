//! Everything below backbone and towers: a batch to one row of numbers per row.

use tch::Tensor;

use super::feature_transform::FeatureTransform;
use super::given_embedding::GivenEmbedding;
use super::input::{EmbeddingColumns, Layout, columns};
use super::position_debias::PositionDebias;
use super::scope::{Builder, Scope};
use super::small_embedding::SmallEmbedding;
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

/// The discrete features, `[B, Fd]` i64.
pub(super) fn discrete_of(batch: &Batch) -> Result<&Tensor, ModelError> {
    let missing = ModelError::MissingFeature { name: "discrete" };
    batch.discrete.as_ref().ok_or(missing)
}

/// `index`, given by the key `key`, as one of `width` discrete columns.
pub(super) fn discrete_column(
    scope: &Scope,
    key: &str,
    index: usize,
    width: usize,
) -> Result<i64, ModelError> {
    if width == 0 {
        let problem = "the data has no discrete features, add `discrete` to renamed_features";
        return Err(scope.error(key, problem));
    }
    if index < width {
        return Ok(columns(index));
    }
    let problem = format!(
        "expected one of the {width} columns of the discrete features, from 0, found {index}"
    );
    Err(scope.error(key, problem))
}

/// Checks that `[B, width]` is as wide as it was when the model was built.
pub(super) fn check_width(
    name: &'static str,
    expected: usize,
    tensor: &Tensor,
) -> Result<(), ModelError> {
    let found = tensor.size().get(1).copied().unwrap_or(1);
    if found == columns(expected) {
        return Ok(());
    }
    Err(ModelError::FeatureWidth {
        name,
        expected,
        found,
    })
}
