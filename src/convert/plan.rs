//! The mapping with every column at its place: what is read of a row, and what it becomes.

use super::error::{ConvertError, Failure};
use super::label::Expression;
use super::ranges::{self, Bucketed, Ranges};
use super::row::{Column, Row};
use super::split::Splitter;
use crate::config::{CategoryConfig, ConversionConfig, IdKind, MissingLabel};

/// What a mapping asks for.
#[derive(Debug)]
pub(super) struct Plan {
    /// The columns that are read, by place.
    pub(super) columns: Vec<String>,
    pub(super) continuous: Vec<Column>,
    /// Stands for an empty cell of a continuous column; `None`: the median does.
    pub(super) missing: Option<f64>,
    pub(super) one_hot: Vec<Category>,
    pub(super) buckets: Vec<Bucketed>,
    pub(super) discrete: Vec<Category>,
    pub(super) labels: Vec<Label>,
    pub(super) weights: Vec<Weight>,
    pub(super) ids: Vec<Id>,
    pub(super) splitter: Splitter,
    /// The share of the rows of the first part that is kept apart; `None` leaves it to their number.
    pub(super) validation_share: Option<f64>,
    /// Whether a label may be the same in all rows that are trained on.
    pub(super) allow_one_class: bool,
}

/// A column with a vocabulary.
#[derive(Debug)]
pub(super) struct Category {
    pub(super) column: Column,
    pub(super) min_count: u64,
    pub(super) max_values: usize,
}

/// A task.
#[derive(Debug)]
pub(super) struct Label {
    pub(super) task: String,
    pub(super) column: Column,
    pub(super) expression: Expression,
    /// What becomes of a row in which it is missing.
    pub(super) missing: MissingLabel,
}

impl Label {
    /// Whether `row` holds nothing by which it could be told.
    pub(super) fn is_missing(&self, row: &Row) -> bool {
        self.expression.is_missing(row, &self.column)
    }

    /// Whether it is 1 in `row`, which is not one that is dropped; `None` where it is 0 for want of a value.
    pub(super) fn read(&self, row: &Row) -> Result<Option<bool>, Failure> {
        if !self.is_missing(row) {
            return self.expression.holds(row, &self.column).map(Some);
        }
        match self.missing {
            MissingLabel::Negative => Ok(None),
            _ => Err(row.wrong(
                &self.column,
                "a value that the label can be told by (missing_label says what else becomes of such rows)",
            )),
        }
    }
}

/// The weights of a task's rows.
#[derive(Debug)]
pub(super) struct Weight {
    pub(super) task: String,
    /// Of the feature that holds them.
    pub(super) key: String,
    pub(super) column: Column,
}

/// A feature that identifies a row.
#[derive(Debug)]
pub(super) struct Id {
    pub(super) name: String,
    /// `None`: the number of the row.
    pub(super) column: Option<Column>,
    pub(super) kind: IdKind,
}

/// Gives every used column a place.
#[derive(Debug, Default)]
struct Places(Vec<String>);

impl Places {
    fn column(&mut self, name: &str) -> Column {
        let known = self.0.iter().position(|known| known == name);
        let place = known.unwrap_or_else(|| {
            self.0.push(name.to_owned());
            self.0.len() - 1
        });
        let name = name.to_owned();
        Column { name, place }
    }

    fn columns(&mut self, names: &[String]) -> Vec<Column> {
        names.iter().map(|name| self.column(name)).collect()
    }

    fn categories(&mut self, groups: &[CategoryConfig]) -> Vec<Category> {
        let mut categories = Vec::new();
        for group in groups {
            let limit = group.max_values.map(|most| usize::try_from(most.get()));
            for column in self.columns(&group.columns) {
                categories.push(Category {
                    column,
                    min_count: group.min_count.get(),
                    max_values: limit.map_or(usize::MAX, |most| most.unwrap_or(usize::MAX)),
                });
            }
        }
        categories
    }
}

impl Plan {
    /// Checks the mapping as far as it can be without the tables.
    pub(super) fn new(mapping: &ConversionConfig) -> Result<Self, ConvertError> {
        if mapping.labels.is_empty() {
            let reason = "expected at least one task; rows without labels need --vocabulary, and are made to be scored";
            return Err(ConvertError::setting("labels", reason));
        }
        Self::of(mapping)
    }

    /// Of a mapping without labels: every row belongs to `part`.
    pub(super) fn unlabelled(mapping: &ConversionConfig, part: &str) -> Result<Self, ConvertError> {
        let splitter = Splitter::all(part);
        Self::of(mapping).map(|plan| Self { splitter, ..plan })
    }

    fn of(mapping: &ConversionConfig) -> Result<Self, ConvertError> {
        let mut places = Places::default();
        let continuous = places.columns(&mapping.continuous);
        let one_hot = places.categories(&mapping.one_hot);
        let discrete = places.categories(&mapping.discrete);
        let buckets = ranges::read(mapping, &mut |names| places.columns(names))?;
        let inputs = places.0.clone();
        let labels = labels(mapping, &mut places, &inputs)?;
        let weights = mapping.weights.iter().map(|(task, column)| Weight {
            task: task.clone(),
            key: format!("{WEIGHT}{task}"),
            column: places.column(column),
        });
        let weights: Vec<Weight> = weights.collect();
        let ids = mapping.ids.iter().map(|(name, id)| Id {
            name: name.clone(),
            column: id.column.as_deref().map(|column| places.column(column)),
            kind: id.kind,
        });
        let ids: Vec<Id> = ids.collect();
        let splitter = Splitter::new(mapping.split.as_ref(), &mut |name| places.column(name))?;
        let plan = Self {
            columns: places.0,
            continuous,
            missing: mapping.missing,
            one_hot,
            buckets,
            discrete,
            labels,
            weights,
            ids,
            splitter,
            validation_share: mapping.validation_share,
            allow_one_class: mapping.allow_one_class,
        };
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Result<(), ConvertError> {
        if self
            .missing
            .is_some_and(|missing| missing.is_nan() || missing.abs() > f64::from(f32::MAX))
        {
            let reason = "expected a number that fits 32 bits";
            return Err(ConvertError::setting("missing", reason));
        }
        let groups = [
            self.continuous.len(),
            self.one_hot.len(),
            self.buckets.len(),
        ];
        if groups.iter().sum::<usize>() + self.discrete.len() == 0 {
            let reason =
                "no column is an input: name some under continuous, one_hot, buckets or discrete";
            return Err(ConvertError::setting("continuous", reason));
        }
        for (key, columns) in [
            ("continuous", self.continuous.iter().collect::<Vec<_>>()),
            ("one_hot", self.one_hot.iter().map(|c| &c.column).collect()),
            ("buckets", self.buckets.iter().map(|b| &b.column).collect()),
            (
                "discrete",
                self.discrete.iter().map(|c| &c.column).collect(),
            ),
        ] {
            for (i, column) in columns.iter().enumerate() {
                if columns[..i].contains(column) {
                    let reason = format!("column `{}` is listed twice", column.name);
                    return Err(ConvertError::setting(key, reason));
                }
            }
        }
        if let Some(share) = self
            .validation_share
            .filter(|share| !(0.0..=0.9).contains(share))
        {
            let reason = format!("expected a share from 0 to 0.9, found {share}");
            return Err(ConvertError::setting("validation_share", reason));
        }
        for weight in &self.weights {
            if !self.labels.iter().any(|label| label.task == weight.task) {
                let key = format!("weights.{}", weight.task);
                return Err(ConvertError::setting(key, "there is no label of that name"));
            }
        }
        for id in &self.ids {
            if !id.name.starts_with("meta__") {
                let reason = "expected a name that begins with meta__";
                return Err(ConvertError::setting(format!("ids.{}", id.name), reason));
            }
            if id.column.is_none() && id.kind == IdKind::Text {
                let reason = "the number of a row is an integer";
                return Err(ConvertError::setting(
                    format!("ids.{}.kind", id.name),
                    reason,
                ));
            }
        }
        Ok(())
    }

    /// Whether `row` is left out, as a label is missing in it.
    pub(super) fn drops(&self, row: &Row) -> bool {
        let is_dropped =
            |label: &Label| label.missing == MissingLabel::Drop && label.is_missing(row);
        self.labels.iter().any(is_dropped)
    }

    /// Columns with a vocabulary, each with the key of the mapping that names it: those of `one_hot`, then those of
    /// `discrete`.
    pub(super) fn categories(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let one_hot = self.one_hot.iter().map(|c| ("one_hot", &*c.column.name));
        one_hot.chain(self.discrete.iter().map(|c| ("discrete", &*c.column.name)))
    }

    /// Whether the tables must be read to know what values there are.
    pub(super) fn must_learn(&self) -> bool {
        let is_open = |bucketed: &Bucketed| matches!(bucketed.ranges, Ranges::Count(_));
        let has_medians = self.missing.is_none() && !self.continuous.is_empty();
        has_medians
            || !self.one_hot.is_empty()
            || !self.discrete.is_empty()
            || self.buckets.iter().any(is_open)
    }
}

/// What the name of the feature with a task's weights begins with.
const WEIGHT: &str = "weight__";

/// Names that features have.
const TAKEN: [&str; 3] = ["continuous", "binary", "discrete"];

fn labels(
    mapping: &ConversionConfig,
    places: &mut Places,
    inputs: &[String],
) -> Result<Vec<Label>, ConvertError> {
    let mut labels = Vec::new();
    for (task, text) in &mapping.labels {
        let wrong = |reason: String| ConvertError::setting(format!("labels.{task}"), reason);
        let expression = Expression::parse(text).map_err(wrong)?;
        if inputs.contains(&expression.column) {
            let column = &expression.column;
            let reason =
                format!("column `{column}` is an input as well, which gives the label away");
            return Err(wrong(reason));
        }
        let is_weight = task
            .strip_prefix(WEIGHT)
            .is_some_and(|weighted| mapping.weights.contains_key(weighted));
        if TAKEN.contains(&task.as_str()) || mapping.ids.contains_key(task) || is_weight {
            return Err(wrong("a feature has that name, choose another".to_owned()));
        }
        labels.push(Label {
            task: task.clone(),
            column: places.column(&expression.column),
            expression,
            missing: mapping.missing_label,
        });
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_cannot_be_called_as_a_feature_is() {
        for (task, more) in [
            ("binary", ""),
            ("meta__id", "ids: {meta__id: {}}"),
            ("weight__y", "weights: {y: c}"),
        ] {
            let text = format!("continuous: [a]\nlabels: {{y: b == 1, {task}: b == 2}}\n{more}");
            let mapping: ConversionConfig = crate::config::parse(&text).unwrap();
            let message = Plan::new(&mapping).unwrap_err().to_string();
            let expected = format!("labels.{task}: a feature has that name");
            assert!(message.starts_with(&expected), "{message}");
        }
        let text = "continuous: [a]\nlabels: {y: b == 1, weight__y: b == 2}";
        let mapping: ConversionConfig = crate::config::parse(text).unwrap();
        assert!(Plan::new(&mapping).is_ok(), "no feature has that name");
    }
}
