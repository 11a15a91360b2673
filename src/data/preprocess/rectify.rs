//! `rectify_labels`: a label counts only if the post was seen, and engaged with, soon enough after it was served.

use super::rows::Rows;
use crate::batch::HostValues;
use crate::config::RectifyLabels;
use crate::data::error::DataError;

const KEY: &str = "preprocess.rectify_labels";

/// Sets each label named to 0 unless it is positive and in time.
pub(super) fn apply(section: &RectifyLabels, rows: &mut Rows) -> Result<(), DataError> {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "saturates, far above any span of time"
    )]
    let window_ms = (section.label_rectification_window_in_hours * 60.0 * 60.0 * 1000.0) as i64;
    let served = rows
        .integers(&section.served_timestamp_field, KEY)?
        .to_vec();
    let impressed = rows
        .integers(&section.impressed_timestamp_field, KEY)?
        .to_vec();
    for (label, engaged) in &section.label_to_engaged_timestamp_field {
        let key = format!("{KEY}.label_to_engaged_timestamp_field.{label}");
        let engaged = rows.integers(engaged, &key)?;
        let in_time: Vec<bool> = (0..rows.count)
            .map(|row| {
                impressed[row].wrapping_sub(served[row]) < window_ms
                    && engaged[row].wrapping_sub(served[row]) < window_ms
            })
            .collect();
        rows.integers(label, &key)?;
        if let HostValues::I64(labels) = &mut rows.column_mut(label, &key)?.values {
            for (label, in_time) in labels.iter_mut().zip(in_time) {
                if *label <= 0 || !in_time {
                    *label = 0;
                }
            }
        }
    }
    Ok(())
}
