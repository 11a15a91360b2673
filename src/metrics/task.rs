//! All chosen metrics of one task, fed together.

use serde::{Deserialize, Serialize};

use super::{
    Auroc, Calibration, Curve, Gauc, Metric, MetricName, NormalizedEntropy, Nrce, PrAuc, Ranking,
    Rce, Reliability, ReliabilityTable, Results, RowMean, RowValue, Rows,
};

/// One metric of a task with its rows so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum State {
    /// A mean by the name it is told under, which for the number of positives is that of its sum.
    Mean(MetricName, RowMean),
    Calibration(Calibration),
    NormalizedEntropy(NormalizedEntropy),
    Rce(Rce),
    Nrce(Nrce),
    /// AUROC and PR-AUC, as far as chosen, over one ranking.
    Ranking(Ranking),
    Gauc(Gauc),
    Reliability(Reliability),
}

/// The chosen metrics over the same rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskMetrics {
    names: Vec<MetricName>,
    states: Vec<State>,
}

/// Runs the same expression on whatever metric a state holds.
macro_rules! on_each {
    ($state:expr, $metric:ident => $do:expr) => {
        match $state {
            State::Mean(_, $metric) => $do,
            State::Calibration($metric) => $do,
            State::NormalizedEntropy($metric) => $do,
            State::Rce($metric) => $do,
            State::Nrce($metric) => $do,
            State::Ranking($metric) => $do,
            State::Gauc($metric) => $do,
            State::Reliability($metric) => $do,
        }
    };
}

impl State {
    /// A fresh state for `name`; none where `name` shares that of another metric.
    fn new(name: MetricName, chosen: &[MetricName]) -> Option<Self> {
        let mean = |value| Self::Mean(name, RowMean::new(value));
        Some(match name {
            MetricName::Count | MetricName::Ctr => mean(RowValue::Label),
            MetricName::Pctr => mean(RowValue::Prediction),
            MetricName::LogLoss => mean(RowValue::LogLoss),
            MetricName::Precision => mean(RowValue::Precision),
            MetricName::Recall => mean(RowValue::Recall),
            MetricName::Calibration => Self::Calibration(Calibration::default()),
            MetricName::NormalizedEntropy => Self::NormalizedEntropy(NormalizedEntropy::default()),
            MetricName::Rce => Self::Rce(Rce::default()),
            MetricName::Nrce => Self::Nrce(Nrce::default()),
            MetricName::PrAuc if chosen.contains(&MetricName::Auroc) => return None,
            MetricName::Auroc | MetricName::PrAuc => Self::Ranking(Ranking::default()),
            MetricName::Gauc => Self::Gauc(Gauc::default()),
            MetricName::Reliability => Self::Reliability(Reliability::default()),
        })
    }

    fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Mean(_, own), Self::Mean(_, other)) => own.merge(other),
            (Self::Calibration(own), Self::Calibration(other)) => own.merge(other),
            (Self::NormalizedEntropy(own), Self::NormalizedEntropy(other)) => own.merge(other),
            (Self::Rce(own), Self::Rce(other)) => own.merge(other),
            (Self::Nrce(own), Self::Nrce(other)) => own.merge(other),
            (Self::Ranking(own), Self::Ranking(other)) => own.merge(other),
            (Self::Gauc(own), Self::Gauc(other)) => own.merge(other),
            (Self::Reliability(own), Self::Reliability(other)) => own.merge(other),
            // Sets are compared name by name before anything is merged, so the kinds agree.
            _ => debug_assert!(false, "states of different metrics"),
        }
    }

    /// Adds what this state can say, of what was chosen, to `results`.
    fn report(&self, chosen: &[MetricName], results: &mut Results) {
        let mut say = |name: MetricName, value: f64| {
            results.insert(name.as_str().to_owned(), value);
        };
        match self {
            Self::Mean(MetricName::Count, metric) => say(MetricName::Count, metric.sum()),
            Self::Mean(name, metric) => say(*name, metric.compute()),
            Self::Calibration(metric) => say(MetricName::Calibration, metric.compute()),
            Self::NormalizedEntropy(metric) => say(MetricName::NormalizedEntropy, metric.compute()),
            Self::Rce(metric) => say(MetricName::Rce, metric.compute()),
            Self::Nrce(metric) => say(MetricName::Nrce, metric.compute()),
            Self::Ranking(ranking) => {
                if chosen.contains(&MetricName::Auroc) {
                    say(MetricName::Auroc, Auroc::of(ranking).value);
                }
                if chosen.contains(&MetricName::PrAuc) {
                    say(MetricName::PrAuc, PrAuc::of(ranking).value);
                }
            }
            Self::Gauc(metric) => say(MetricName::Gauc, metric.compute().value),
            Self::Reliability(metric) => {
                let error = metric.compute().expected_calibration_error;
                say(MetricName::Reliability, error);
            }
        }
    }
}

impl TaskMetrics {
    /// The metrics called `names`, over no rows yet.
    #[must_use]
    pub fn new(names: &[MetricName]) -> Self {
        Self {
            names: names.to_vec(),
            states: names
                .iter()
                .filter_map(|&name| State::new(name, names))
                .collect(),
        }
    }

    /// Which metrics were chosen.
    #[must_use]
    pub fn names(&self) -> &[MetricName] {
        &self.names
    }

    /// The order of the rows so far, with AUROC or PR-AUC among the metrics: for error bounds and curves.
    #[must_use]
    pub fn ranking(&self) -> Option<&Ranking> {
        self.states.iter().find_map(|state| match state {
            State::Ranking(ranking) => Some(ranking),
            _ => None,
        })
    }

    /// The ROC and precision-recall curves with about `resolution` points, with AUROC or PR-AUC among the metrics.
    #[must_use]
    pub fn curve(&self, resolution: u16) -> Option<Curve> {
        self.ranking().map(|ranking| Curve::of(ranking, resolution))
    }

    /// The reliability table, if it is among the metrics.
    #[must_use]
    pub fn reliability(&self) -> Option<ReliabilityTable> {
        self.states.iter().find_map(|state| match state {
            State::Reliability(reliability) => Some(reliability.compute()),
            _ => None,
        })
    }
}

impl Metric for TaskMetrics {
    type Value = Results;

    fn update(&mut self, rows: &Rows<'_>) {
        for state in &mut self.states {
            on_each!(state, metric => metric.update(rows));
        }
    }

    fn merge(&mut self, other: &Self) {
        for (state, others) in self.states.iter_mut().zip(&other.states) {
            state.merge(others);
        }
    }

    /// One number per metric, in the order of [`MetricName::ALL`].
    fn compute(&self) -> Results {
        let mut results = Results::new();
        for state in &self.states {
            state.report(&self.names, &mut results);
        }
        results
    }

    fn reset(&mut self) {
        for state in &mut self.states {
            on_each!(state, metric => metric.reset());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::test_support::{check_mergeable, check_silent_without_rows};

    #[test]
    fn every_metric_merges_and_is_silent_without_rows() {
        for name in MetricName::ALL {
            let fresh = TaskMetrics::new(&[name]);
            let number = |results: &Results| results[name.as_str()];
            let tolerance = if name == MetricName::Nrce { 20.0 } else { 1e-6 };
            check_mergeable(&fresh, tolerance, number);
            if name != MetricName::Count {
                check_silent_without_rows(&fresh, number);
            }
        }
    }

    #[test]
    fn two_areas_share_one_ranking() {
        let both = TaskMetrics::new(&[MetricName::Auroc, MetricName::PrAuc]);
        assert_eq!(both.states.len(), 1);
        let results = both.compute();
        let names: Vec<&String> = results.keys().collect();
        assert_eq!(names, ["auroc", "pr_auc"]);
        let one = TaskMetrics::new(&[MetricName::PrAuc]);
        assert_eq!(one.compute().len(), 1);
        assert!(one.ranking().is_some() && one.curve(10).is_some());
    }
}
