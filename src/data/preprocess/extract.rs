//! `extract_features`: columns as features of their own, `[B]`.

use super::rows::Rows;
use crate::batch::{HostTensor, HostValues};
use crate::config::{ExtractFeature, ExtractFeatures};
use crate::data::error::DataError;

const KEY: &str = "preprocess.extract_features.extract_feature_table";

/// Adds every column named; one that has the name of a feature replaces it.
pub(super) fn apply(section: &ExtractFeatures, rows: &mut Rows) -> Result<(), DataError> {
    for entry in &section.extract_feature_table {
        let values = column(entry, rows)?;
        let shape = vec![rows.count];
        rows.take(&entry.name);
        rows.columns
            .push((entry.name.as_str().into(), HostTensor { shape, values }));
    }
    Ok(())
}

fn column(entry: &ExtractFeature, rows: &Rows) -> Result<HostValues, DataError> {
    let key = format!("{KEY}.{}", entry.name);
    let source = rows.column(&entry.source_tensor, &key)?;
    let (&[_, width], false) = (
        source.shape.as_slice(),
        matches!(source.values, HostValues::Ragged { .. }),
    ) else {
        return Err(DataError::setting(
            key,
            format!("`{}` has no columns of fixed number", entry.source_tensor),
        ));
    };
    let index = match usize::try_from(entry.index) {
        Ok(index) => Some(index),
        // Counted from the end, as in Python.
        Err(_) => usize::try_from(entry.index.unsigned_abs())
            .ok()
            .and_then(|back| width.checked_sub(back)),
    };
    let index = index.filter(|&index| index < width).ok_or_else(|| {
        DataError::setting(
            &key,
            format!(
                "column {} of `{}`, which has {width}",
                entry.index, entry.source_tensor
            ),
        )
    })?;
    Ok(match &source.values {
        HostValues::F32(values) => HostValues::F32(every(values, width, index)),
        HostValues::I64(values) => HostValues::I64(every(values, width, index)),
        HostValues::Bool(values) => HostValues::Bool(every(values, width, index)),
        HostValues::U8(values) => HostValues::U8(every(values, width, index)),
        HostValues::Bytes(values) => HostValues::Bytes(every(values, width, index)),
        HostValues::Ragged { .. } => HostValues::F32(Vec::new()),
    })
}

fn every<T: Clone>(values: &[T], width: usize, index: usize) -> Vec<T> {
    values
        .iter()
        .skip(index)
        .step_by(width.max(1))
        .cloned()
        .collect()
}
