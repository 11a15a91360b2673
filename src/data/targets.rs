//! What labels, weights and features that no preprocessing of the model makes finite may be: looked at where a record is
//! decoded, so that a bad one is told with its place.

use super::columns::{Column, Spec};
use super::error::RecordError;
use crate::batch::HostValues;
use crate::config::RecapDataConfig;

/// Features that the model reads as they are; of `continuous`, it takes what is not finite as 0.
const READ_AS_THEY_ARE: [&str; 4] = [
    "binary",
    "user_embedding",
    "user_eng_embedding",
    "author_embedding",
];

/// The labels and weights among the columns of a layout, and the features that must be finite.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Targets {
    targets: Vec<Target>,
    /// Places of the features among the columns.
    finite: Vec<usize>,
}

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
        let is_read = |spec: &Spec| READ_AS_THEY_ARE.contains(&&*spec.feature.name);
        let finite = specs.iter().enumerate().filter(|(_, spec)| is_read(spec));
        Self {
            targets,
            finite: finite.map(|(column, _)| column).collect(),
        }
    }

    /// Looks at the last row of `columns`.
    pub(crate) fn check(&self, specs: &[Spec], columns: &[Column]) -> Result<(), RecordError> {
        for target in &self.targets {
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
        for &column in &self.finite {
            check_finite(&specs[column], &columns[column])?;
        }
        Ok(())
    }
}

/// Looks at the last row of `column`.
fn check_finite(spec: &Spec, column: &Column) -> Result<(), RecordError> {
    let HostValues::F32(values) = &column.values else {
        return Ok(());
    };
    let start = match &column.ends {
        Some(ends) => ends.len().checked_sub(2).map_or(0, |before| ends[before]),
        None => values.len().saturating_sub(spec.keep.width()),
    };
    let row = &values[start..];
    if row.iter().all(|value| value.is_finite()) {
        return Ok(());
    }
    let place = row.iter().position(|value| !value.is_finite());
    let place = place.unwrap_or_default();
    let in_record = match column.ends {
        Some(_) => place,
        None => spec.keep.position(place),
    };
    let feature = &spec.feature;
    let (key, in_list) = match &feature.parts {
        Some(parts) => (&parts.keys[in_record], None),
        None => (&feature.key, Some(in_record)),
    };
    Err(RecordError::NotFinite {
        key: key.clone(),
        place: in_list,
        feature: feature.name.to_string(),
        found: row[place],
    })
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
    use std::sync::Arc;

    use super::*;
    use crate::data::columns::Keep;
    use crate::data::schema::{Dtype, Feature, Length, Parts};

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
    fn what_is_not_finite_is_told_with_its_key_and_place() {
        let feature = |length, parts: Option<&[&str]>| Feature {
            key: "key".to_owned(),
            name: "binary".into(),
            dtype: Dtype::Float,
            length,
            parts: parts.map(|keys| {
                let keys = keys.iter().map(|&key| key.to_owned()).collect();
                Arc::new(Parts {
                    keys,
                    absent: super::super::schema::Absent::Zero,
                })
            }),
        };
        let said = |spec: &Spec, ends: Option<Vec<usize>>, values: &[f32]| {
            let values = HostValues::F32(values.to_vec());
            let found = check_finite(spec, &Column { values, ends });
            found.map_or_else(|error| error.to_string(), |()| String::new())
        };
        let nan = f32::NAN;
        let mut list = Spec::new(feature(Length::Fixed(2), None));
        assert_eq!(
            said(&list, None, &[nan, 1.0, 2.0, 3.0]),
            "",
            "an earlier row"
        );
        let bad = said(&list, None, &[1.0, 1.0, 2.0, f32::INFINITY]);
        assert!(
            bad.starts_with("`key`, value 1, is inf, and the model reads `binary`"),
            "{bad}"
        );
        list.keep = Keep::Picked(vec![3, 7]);
        assert!(said(&list, None, &[1.0, nan]).contains("value 7, is NaN"));
        let any = Spec::new(feature(Length::Variable, None));
        assert!(said(&any, Some(vec![1, 3]), &[1.0, 2.0, nan]).contains("value 1,"));
        assert_eq!(said(&any, Some(vec![1, 1]), &[nan]), "", "an empty row");
        let parts = Spec::new(feature(Length::Fixed(2), Some(&["a", "b"])));
        assert!(said(&parts, None, &[0.0, nan]).starts_with("`b` is NaN"));
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
