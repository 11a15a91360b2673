//! What labels and weights may be: looked at where a record is decoded, so that a bad one is told with its place.

use super::columns::{Column, Spec};
use super::error::RecordError;
use crate::batch::HostValues;
use crate::config::RecapDataConfig;

/// The labels and weights among the columns of a layout.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Targets(Vec<Target>);

#[derive(Debug, Clone, PartialEq)]
struct Target {
    /// Its place among the columns.
    column: usize,
    task: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// 0 or 1.
    Label {
        /// Or any number between.
        is_soft: bool,
        /// Or any number below: rectified to 0 later.
        is_rectified: bool,
    },
    /// Finite, at least 0.
    Weight,
}

impl Targets {
    /// Those of the tasks of `config`; labels are the first of `specs`.
    pub(crate) fn new(config: &RecapDataConfig, specs: &[Spec]) -> Self {
        let preprocess = config.preprocess.as_ref();
        let rectify = preprocess.and_then(|section| section.rectify_labels.as_ref());
        let mut targets = Vec::new();
        for (column, (name, task)) in config.tasks.iter().enumerate() {
            let is_rectified = |section: &crate::config::RectifyLabels| {
                section.label_to_engaged_timestamp_field.contains_key(name)
            };
            let kind = Kind::Label {
                is_soft: task.soft_labels,
                is_rectified: rectify.is_some_and(is_rectified),
            };
            let mut add = |column, kind| {
                targets.push(Target {
                    column,
                    task: name.clone(),
                    kind,
                });
            };
            add(column, kind);
            let is_weight =
                |spec: &Spec| Some(&*spec.feature.name) == task.weight_feature.as_deref();
            if let Some(column) = specs.iter().position(is_weight) {
                add(column, Kind::Weight);
            }
        }
        Self(targets)
    }

    /// Looks at the last row of `columns`.
    pub(crate) fn check(&self, specs: &[Spec], columns: &[Column]) -> Result<(), RecordError> {
        for target in &self.0 {
            let found = columns.get(target.column).map(|column| &column.values);
            // What is no number is refused when the loader opens.
            let is_good = match found {
                Some(HostValues::I64(values)) => values.last().is_none_or(|&v| target.takes_int(v)),
                Some(HostValues::F32(values)) => values.last().is_none_or(|&v| target.takes(v)),
                _ => true,
            };
            if !is_good {
                return Err(target.error(specs, found));
            }
        }
        Ok(())
    }
}

impl Target {
    fn takes_int(&self, value: i64) -> bool {
        match self.kind {
            Kind::Label { is_rectified, .. } => matches!(value, 0 | 1) || is_rectified && value < 0,
            Kind::Weight => value >= 0,
        }
    }

    #[allow(clippy::float_cmp, reason = "labels are exactly 0 or 1")]
    fn takes(&self, value: f32) -> bool {
        match self.kind {
            Kind::Label { is_soft: true, .. } => (0.0..=1.0).contains(&value),
            Kind::Label { .. } => value == 0.0 || value == 1.0,
            Kind::Weight => value >= 0.0 && value.is_finite(),
        }
    }

    fn error(&self, specs: &[Spec], values: Option<&HostValues>) -> RecordError {
        let found = match values {
            Some(HostValues::I64(values)) => values.last().map(ToString::to_string),
            Some(HostValues::F32(values)) => values.last().map(ToString::to_string),
            _ => None,
        };
        let found = found.unwrap_or_default();
        let task = self.task.clone();
        match self.kind {
            Kind::Label { is_soft: true, .. } => RecordError::SoftLabel { task, found },
            Kind::Label { .. } => RecordError::Label { task, found },
            Kind::Weight => RecordError::Weight {
                feature: specs[self.column].feature.key.clone(),
                task,
                found,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(is_soft: bool, is_rectified: bool) -> Target {
        Target {
            column: 0,
            task: "t".to_owned(),
            kind: Kind::Label {
                is_soft,
                is_rectified,
            },
        }
    }

    #[test]
    fn a_label_is_0_or_1_and_soft_only_where_asked_for() {
        let (hard, soft) = (target(false, false), target(true, false));
        let odd = [0.5, 2.0, -1.0, f32::NAN, f32::INFINITY];
        assert_eq!([0.0, -0.0, 1.0].map(|v| hard.takes(v)), [true; 3]);
        assert_eq!(odd.map(|v| hard.takes(v)), [false; 5]);
        assert_eq!(
            odd.map(|v| soft.takes(v)),
            [true, false, false, false, false]
        );
        assert_eq!(
            [0, 1, 2, -1].map(|v| hard.takes_int(v)),
            [true, true, false, false]
        );
    }

    #[test]
    fn what_is_rectified_to_0_may_be_below() {
        let rectified = target(false, true);
        assert_eq!(
            [0, 1, -5, 2].map(|v| rectified.takes_int(v)),
            [true, true, true, false]
        );
    }

    #[test]
    fn a_weight_is_finite_and_at_least_0() {
        let weight = Target {
            kind: Kind::Weight,
            ..target(false, false)
        };
        assert_eq!([0.0, 3e38].map(|v| weight.takes(v)), [true; 2]);
        let bad = [-1.0, f32::NAN, f32::INFINITY, -f32::MIN_POSITIVE];
        assert_eq!(bad.map(|v| weight.takes(v)), [false; 4]);
    }
}
