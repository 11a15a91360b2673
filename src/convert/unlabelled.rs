//! Rows that have no labels yet and are to be scored: how they are known, and what of a mapping they need.

use tracing::{info, warn};

use super::error::ConvertError;
use super::label::Expression;
use super::source::Sources;
use crate::config::ConversionConfig;

/// The part of such rows.
pub(super) const PART: &str = "rows";

/// `mapping` without labels, weights and split, where no table has a column of a label; else `None`.
///
/// # Errors
/// When a label cannot be understood, or a table cannot be read.
pub(super) fn mapping(
    mapping: &ConversionConfig,
    sources: &Sources,
) -> Result<Option<ConversionConfig>, ConvertError> {
    let mut columns = Vec::new();
    for (task, text) in &mapping.labels {
        let expression = Expression::parse(text);
        let wrong = |reason| ConvertError::setting(format!("labels.{task}"), reason);
        columns.push(expression.map_err(wrong)?.column);
    }
    for column in &columns {
        if sources.have(column)? {
            return Ok(None);
        }
    }
    let columns = columns.join(", ");
    match columns.is_empty() {
        true => info!("the mapping has no labels: the rows are made to be scored, in one part"),
        false => warn!(
            columns,
            "no table has a column of a label: the rows are made to be scored, without labels and in one part"
        ),
    }
    let mut mapping = mapping.clone();
    mapping.labels.clear();
    mapping.weights.clear();
    mapping.split = None;
    mapping.validation_share = None;
    Ok(Some(mapping))
}
