//! How good the predictions are: weighted metrics that stream, merge across ranks and never grow with the data.
//!
//! One metric per file ([`RowMean`] is several), each with the same verbs in the same order: [`Metric::update`], [`Metric::merge`],
//! [`Metric::compute`], [`Metric::reset`]. Every state is plain data under `serde`, so that ranks and checkpoints can
//! exchange it; numbers that may be NaN travel as their bits. What a metric cannot know (no row, one class missing,
//! no weight) it reports as NaN, never as a guess and never as a panic.
//!
//! Rows come as [`Rows`]: scores (probabilities or logits), labels and, where given, weights and group ids, checked
//! once. Rows of weight zero have no say in any metric.
//!
//! # Memory
//! The means, sums and tables take less than 2 KiB each. [`Auroc`] and [`PrAuc`] keep a [`Ranking`]: at most 10 MiB,
//! however long the stream (see there for the accuracy). [`Gauc`] keeps whole groups within a budget, 64 MiB unless
//! told otherwise. [`MetricSet`] has one of each per task and per stratum, with AUROC and PR-AUC on one ranking.

mod auroc;
pub(crate) mod bits;
mod calibration;
mod cross_entropy;
mod curve;
mod digest;
mod error;
mod gauc;
mod mean;
mod names;
mod normalized_entropy;
mod nrce;
mod pr_auc;
mod ranking;
mod rce;
mod reliability;
mod results;
mod row_mean;
mod rows;
mod set;
mod stratum;
mod task;
#[cfg(test)]
mod test_support;

pub use auroc::Auroc;
pub use calibration::Calibration;
pub use cross_entropy::CrossEntropyConfig;
pub use curve::{Curve, CurvePoint};
pub use error::MetricError;
pub use gauc::{Gauc, GroupedEstimate};
pub use mean::StableMean;
pub use names::{Better, MetricName};
pub use normalized_entropy::NormalizedEntropy;
pub use nrce::Nrce;
pub use pr_auc::PrAuc;
pub use ranking::{Estimate, Ranking, RankingLimits};
pub use rce::Rce;
pub use reliability::{Reliability, ReliabilityBin, ReliabilityTable};
pub use results::Results;
pub use row_mean::{RowMean, RowValue};
pub use rows::{Row, Rows, Scores, sigmoid};
pub use set::{MetricSet, SetBatch};
pub use stratum::{Stratified, Stratum};
pub use task::TaskMetrics;

/// What every metric over rows does.
pub trait Metric {
    /// What [`compute`](Self::compute) answers.
    type Value;

    /// Takes in more rows.
    fn update(&mut self, rows: &Rows<'_>);

    /// Takes in what `other`, built with the same settings, has seen: afterwards `self` stands as if it had seen the
    /// rows of both.
    fn merge(&mut self, other: &Self);

    /// The metric over all rows so far.
    fn compute(&self) -> Self::Value;

    /// Forgets every row and keeps the settings.
    fn reset(&mut self);
}
