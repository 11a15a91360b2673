//! The metrics by name, as `which_metrics` selects them and results show them.

use super::MetricError;

/// A metric that a [`MetricSet`](super::MetricSet) can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricName {
    /// Number of positives.
    Count,
    /// Mean label.
    Ctr,
    /// Mean prediction.
    Pctr,
    /// Mean prediction / mean label.
    Calibration,
    /// Mean cross-entropy in nats.
    LogLoss,
    /// Cross-entropy relative to that of the mean label.
    NormalizedEntropy,
    /// Relative cross-entropy in percent.
    Rce,
    /// Relative cross-entropy in percent after correcting the mean prediction.
    Nrce,
    /// Area under the ROC curve.
    Auroc,
    /// Area under the precision-recall curve.
    PrAuc,
    /// Area under the ROC curve within groups.
    Gauc,
    /// Share of positives among those predicted so.
    Precision,
    /// Share of the positives predicted so.
    Recall,
    /// Expected calibration error, from the reliability table.
    Reliability,
}

/// Which values of a metric a better model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Higher ones.
    Higher,
    /// Lower ones.
    Lower,
}

impl MetricName {
    /// Every metric, in the order of results.
    pub const ALL: [Self; 14] = [
        Self::Count,
        Self::Ctr,
        Self::Pctr,
        Self::Calibration,
        Self::LogLoss,
        Self::NormalizedEntropy,
        Self::Rce,
        Self::Nrce,
        Self::Auroc,
        Self::PrAuc,
        Self::Gauc,
        Self::Precision,
        Self::Recall,
        Self::Reliability,
    ];

    /// The name as written in `which_metrics` and in results.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Ctr => "ctr",
            Self::Pctr => "pctr",
            Self::Calibration => "calibration",
            Self::LogLoss => "log_loss",
            Self::NormalizedEntropy => "normalized_entropy",
            Self::Rce => "rce",
            Self::Nrce => "nrce",
            Self::Auroc => "auroc",
            Self::PrAuc => "pr_auc",
            Self::Gauc => "gauc",
            Self::Precision => "precision",
            Self::Recall => "recall",
            Self::Reliability => "reliability",
        }
    }

    /// Which of its values are better; `None` for a metric that says nothing of a model's quality.
    #[must_use]
    pub fn better(self) -> Option<Better> {
        match self {
            Self::Count | Self::Ctr | Self::Pctr | Self::Calibration => None,
            Self::LogLoss | Self::NormalizedEntropy | Self::Reliability => Some(Better::Lower),
            Self::Rce
            | Self::Nrce
            | Self::Auroc
            | Self::PrAuc
            | Self::Gauc
            | Self::Precision
            | Self::Recall => Some(Better::Higher),
        }
    }

    /// The metric called `name`, in any case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let is_meant = |metric: &Self| metric.as_str().eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(is_meant)
    }

    /// The metrics that `which_metrics` selects: names separated by commas, in any case and order, or `all`. None
    /// selects every metric that needs no group ids.
    ///
    /// # Errors
    /// When a name is no metric, or there is no name at all.
    pub fn select(which: Option<&str>) -> Result<Vec<Self>, MetricError> {
        let Some(which) = which else {
            let needs_no_groups = |name: &Self| *name != Self::Gauc;
            return Ok(Self::ALL.into_iter().filter(needs_no_groups).collect());
        };
        let names: Vec<&str> = which
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .collect();
        let mut chosen = Vec::new();
        for name in names {
            if name.eq_ignore_ascii_case("all") {
                chosen.extend(Self::ALL);
            } else {
                chosen.push(Self::parse(name)?);
            }
        }
        if chosen.is_empty() {
            return Err(MetricError::NoMetric {
                choices: Self::list(),
            });
        }
        let is_chosen = |name: &Self| chosen.contains(name);
        Ok(Self::ALL.into_iter().filter(is_chosen).collect())
    }

    /// Every name, for messages.
    fn list() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }

    fn parse(name: &str) -> Result<Self, MetricError> {
        Self::named(name).ok_or_else(|| MetricError::UnknownMetric {
            name: name.to_owned(),
            choices: Self::list(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_select_metrics_in_a_fixed_order() {
        let chosen = MetricName::select(Some("RCE, auroc,,ctr")).unwrap();
        assert_eq!(
            chosen,
            [MetricName::Ctr, MetricName::Rce, MetricName::Auroc]
        );
        assert_eq!(MetricName::select(Some("all")).unwrap().len(), 14);
        let default = MetricName::select(None).unwrap();
        assert!(!default.contains(&MetricName::Gauc) && default.len() == 13);
    }

    #[test]
    fn unknown_names_are_refused_with_the_known_ones() {
        let error = MetricName::select(Some("auc")).unwrap_err().to_string();
        assert!(error.starts_with("unknown metric `auc`: choose from count, ctr"));
        assert!(matches!(
            MetricName::select(Some(" , ")),
            Err(MetricError::NoMetric { .. })
        ));
    }
}
