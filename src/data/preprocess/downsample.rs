//! `downsample_negatives`: of the rows read, keep the positive ones and as many negative ones as fit the batch.

use super::rows::Rows;
use crate::config::{DownsampleNegatives, RecapDataConfig, Size};
use crate::data::error::DataError;

const KEY: &str = "preprocess.downsample_negatives";

pub(super) fn config(config: &RecapDataConfig) -> Option<&DownsampleNegatives> {
    config.preprocess.as_ref()?.downsample_negatives.as_ref()
}

/// How many times more rows are read than kept.
pub(super) fn batch_multiplier(section: &DownsampleNegatives) -> usize {
    section.batch_multiplier.map_or(1, Size::to_usize)
}

/// Keeps `batch` rows, or all there are where the data ends: positives first, then negatives, in reading order. The
/// weights of the negatives that stay grow so that they stand for all that were read.
pub(super) fn apply(
    section: &DownsampleNegatives,
    batch: usize,
    rows: &mut Rows,
) -> Result<(), DataError> {
    let read = rows.count;
    let kept = read.min(batch);
    let is_positive = positives(section, rows)?;
    let count = is_positive.iter().filter(|&&positive| positive).count();
    if count > kept {
        tracing::warn!(
            positives = count,
            kept,
            "more positive rows than the batch holds: some are dropped, which biases \
            the training; lower {KEY}.batch_multiplier"
        );
    }
    if rows.weights.is_none() {
        let width = section.num_engagements.to_usize();
        rows.weights = Some(vec![1.0; rows.count * width]);
        rows.weights_width = width;
    }
    let of = |wanted: bool| {
        let all = is_positive.iter().enumerate();
        all.filter(move |&(_, &positive)| positive == wanted)
            .map(|(row, _)| row)
    };
    let chosen: Vec<usize> = of(true).chain(of(false)).take(kept).collect();
    rows.select(&chosen);
    let factor = negative_factor(read, kept, count);
    let width = rows.weights_width;
    if let Some(weights) = &mut rows.weights {
        for weight in weights.iter_mut().skip(count * width) {
            *weight *= factor;
        }
    }
    Ok(())
}

/// Which rows have a label of `engagements_list` equal to 1.
fn positives(section: &DownsampleNegatives, rows: &Rows) -> Result<Vec<bool>, DataError> {
    let key = format!("{KEY}.engagements_list");
    if section.engagements_list.is_empty() {
        return Err(DataError::setting(key, "expected at least one label"));
    }
    let mut positive = vec![false; rows.count];
    for label in &section.engagements_list {
        let labels = rows.integers(label, &key)?;
        for (positive, &label) in positive.iter_mut().zip(labels) {
            *positive |= label == 1;
        }
    }
    Ok(positive)
}

/// How many negatives that were read one that is kept stands for.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "row counts are small; the quotient is rounded once"
)]
fn negative_factor(read: usize, kept: usize, positives: usize) -> f32 {
    if positives >= kept {
        return 0.0;
    }
    ((read - positives) as f64 / (kept - positives) as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{HostTensor, HostValues};

    /// Rows with these labels after downsampling to batches of `batch`: labels and weights.
    fn downsampled(labels: &[i64], batch: usize) -> (Vec<i64>, Vec<f32>) {
        let section = "{engagements_list: [fav], batch_multiplier: 3, num_engagements: 1}";
        let section: DownsampleNegatives = crate::config::parse(section).unwrap();
        let column = HostTensor {
            shape: vec![labels.len(), 1],
            values: HostValues::I64(labels.to_vec()),
        };
        let mut rows = Rows::new(labels.len(), vec![("fav".into(), column)]);
        apply(&section, batch, &mut rows).unwrap();
        let labels = rows.integers("fav", KEY).unwrap().to_vec();
        (labels, rows.weights.unwrap())
    }

    #[test]
    fn a_whole_batch_keeps_its_share_and_the_negatives_stand_for_all() {
        let (labels, weights) = downsampled(&[0, 1, 0, 0, 0, 0], 2);
        assert_eq!(labels, [1, 0]);
        assert_eq!(weights, [1.0, 5.0]);
    }

    #[test]
    fn the_last_partial_batch_uses_the_rows_there_are() {
        let (labels, weights) = downsampled(&[0, 1, 0, 1], 3);
        assert_eq!(labels, [1, 1, 0]);
        assert_eq!(weights, [1.0, 1.0, 2.0]);
        let (labels, weights) = downsampled(&[0, 1], 3);
        assert_eq!((labels.len(), weights), (2, vec![1.0, 1.0]));
        assert!(downsampled(&[], 3).0.is_empty());
    }
}
