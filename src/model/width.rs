//! The columns of a batch: those that a model was built for, and those that its configuration names.

use tch::Tensor;

use super::ModelError;
use super::input::columns;
use super::scope::Scope;
use crate::torch::batch::Batch;

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
