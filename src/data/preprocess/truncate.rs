//! `truncate_and_slice`: which columns of `continuous` and `binary` are kept. No later step needs the others, so that
//! they are not even read.

use std::path::Path;

use crate::config::{Size, TruncateAndSlice};
use crate::data::columns::{Keep, Spec};
use crate::data::error::DataError;
use crate::data::mask;
use crate::data::schema::{Dtype, Length};

const KEY: &str = "preprocess.truncate_and_slice";

/// Narrows the columns that `section` names.
pub(in crate::data) fn truncate_and_slice(
    section: &TruncateAndSlice,
    specs: &mut [Spec],
) -> Result<(), DataError> {
    let first = |columns: Option<Size>| columns.map(Size::to_usize);
    narrow(
        "continuous",
        first(section.continuous_feature_truncation),
        section.continuous_feature_mask_path.as_deref(),
        specs,
    )?;
    narrow(
        "binary",
        first(section.binary_feature_truncation),
        section.binary_feature_mask_path.as_deref(),
        specs,
    )
}

fn narrow(
    name: &str,
    first: Option<usize>,
    mask_path: Option<&str>,
    specs: &mut [Spec],
) -> Result<(), DataError> {
    if first.is_none() && mask_path.is_none() {
        return Ok(());
    }
    let spec = specs.iter_mut().find(|spec| *spec.feature.name == *name);
    let spec = spec.ok_or_else(|| {
        DataError::setting(
            KEY,
            format!("no feature `{name}`: add it to seg_dense_schema.renamed_features"),
        )
    })?;
    let (Length::Fixed(length), true) = (spec.feature.length, spec.feature.dtype != Dtype::Bytes)
    else {
        return Err(DataError::setting(
            KEY,
            format!("`{name}` must be a list of numbers of fixed length"),
        ));
    };
    let width = first.unwrap_or(length).min(length);
    spec.keep = Keep::First(width);
    if let Some(path) = mask_path {
        let positions = mask::load(Path::new(path))?;
        match positions.last() {
            Some(&last) if last >= width => {
                return Err(DataError::Support {
                    what: "mask",
                    path: path.into(),
                    reason: format!(
                        "keeps column {last}, but `{name}` has {width} columns after truncation"
                    ),
                });
            }
            _ => spec.keep = Keep::Picked(positions),
        }
    }
    Ok(())
}
