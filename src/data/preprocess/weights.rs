//! Weights: undo that positives and negatives were sampled at different rates, and what the records say of their own.

use indexmap::IndexMap;

use super::rows::Rows;
use crate::batch::{HostTensor, HostValues};
use crate::config::TaskData;
use crate::data::error::DataError;

/// Sets `weight[b, t] = (y / pos_rate + (1 - y) / neg_rate) · own weight`, if some task has a rate other than 1 or a
/// feature of weights.
pub(super) fn add(tasks: &IndexMap<String, TaskData>, rows: &mut Rows) -> Result<(), DataError> {
    #[allow(clippy::float_cmp, reason = "the config's own literal 1")]
    let is_sampled =
        |task: &TaskData| task.pos_downsampling_rate != 1.0 || task.neg_downsampling_rate != 1.0;
    let is_weighted = |task: &TaskData| is_sampled(task) || task.weight_feature.is_some();
    if !tasks.values().any(is_weighted) {
        return Ok(());
    }
    let width = tasks.len();
    let mut weights = vec![0.0; rows.count * width];
    for (task, (name, rates)) in tasks.iter().enumerate() {
        let (positive, negative) = (
            rate(rates.pos_downsampling_rate),
            rate(rates.neg_downsampling_rate),
        );
        let labels = as_floats(name, rows.column(name, "tasks")?)?;
        for (row, label) in labels.into_iter().enumerate() {
            weights[row * width + task] = label / positive + (1.0 - label) / negative;
        }
        if let Some(feature) = &rates.weight_feature {
            let own = own_weights(name, feature, rows)?;
            for (row, own) in own.iter().enumerate() {
                weights[row * width + task] *= own;
            }
        }
    }
    rows.weights = Some(weights);
    rows.weights_width = width;
    Ok(())
}

/// The feature of weights of task `name`.
fn own_weights<'a>(name: &str, feature: &str, rows: &'a Rows) -> Result<&'a [f32], DataError> {
    let key = format!("tasks.{name}.weight_feature");
    let tensor = rows.column(feature, &key)?;
    match &tensor.values {
        HostValues::F32(values) if values.len() == rows.count => Ok(values),
        _ => Err(DataError::setting(
            key,
            format!("expected `{feature}` to be one float per row"),
        )),
    }
}

#[allow(clippy::cast_possible_truncation, reason = "weights are f32")]
fn rate(value: f64) -> f32 {
    value as f32
}

#[allow(clippy::cast_precision_loss, reason = "labels are small integers")]
fn as_floats(name: &str, labels: &HostTensor) -> Result<Vec<f32>, DataError> {
    match &labels.values {
        HostValues::I64(values) => Ok(values.iter().map(|&label| label as f32).collect()),
        HostValues::F32(values) => Ok(values.clone()),
        _ => Err(DataError::setting(
            format!("tasks.{name}"),
            "a label must be a number for sampling weights",
        )),
    }
}
