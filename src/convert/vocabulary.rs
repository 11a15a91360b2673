//! What is learned of the rows that are trained on: the values of categorical columns, the ranges of numeric ones.

use std::collections::HashMap;
use std::path::Path;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::cell::Row;
use super::error::{ConvertError, Failure};
use super::plan::{Category, Plan, Ranges};
use super::sample::Sample;

/// The file `vocabulary.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vocabulary {
    /// By column: id 0 is every unknown value, id 1 the first of these.
    pub(super) one_hot: IndexMap<String, Values>,
    /// By column: the lower ends of all ranges but the lowest.
    pub(super) buckets: IndexMap<String, Vec<f64>>,
    /// By column: as for `one_hot`.
    pub(super) discrete: IndexMap<String, Values>,
}

/// The known values of one column.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Values {
    /// The commonest first.
    pub(super) values: Vec<String>,
    /// How often each was counted.
    pub(super) counts: Vec<u64>,
}

impl Values {
    /// Ids there are, 0 for unknown values included.
    pub(super) fn width(&self) -> usize {
        self.values.len() + 1
    }

    /// Ids by value.
    pub(super) fn ids(&self) -> HashMap<String, usize> {
        self.values.iter().cloned().zip(1..).collect()
    }

    fn of(counts: HashMap<Box<str>, u64>, category: &Category) -> Self {
        let known = counts.into_iter().filter(|(_, n)| *n >= category.min_count);
        let mut known: Vec<(Box<str>, u64)> = known.collect();
        known.sort_unstable_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
        known.truncate(category.max_values);
        let (values, counts) = known.into_iter().map(|(v, n)| (v.into_string(), n)).unzip();
        Self { values, counts }
    }
}

impl Vocabulary {
    /// Reads a file that an earlier conversion wrote.
    pub(super) fn read(path: &Path, plan: &Plan) -> Result<Self, ConvertError> {
        let unusable = |reason: String| ConvertError::Vocabulary {
            path: path.to_owned(),
            reason,
        };
        let text = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
        let read: Self =
            serde_json::from_slice(&text).map_err(|error| unusable(error.to_string()))?;
        let expected = [
            (
                "one_hot",
                names(plan.one_hot.iter().map(|c| &c.column.name)),
            ),
            (
                "buckets",
                names(plan.buckets.iter().map(|b| &b.column.name)),
            ),
            (
                "discrete",
                names(plan.discrete.iter().map(|c| &c.column.name)),
            ),
        ];
        let found = [
            names(read.one_hot.keys()),
            names(read.buckets.keys()),
            names(read.discrete.keys()),
        ];
        for ((key, expected), found) in expected.into_iter().zip(found) {
            if expected != found {
                return Err(unusable(format!(
                    "{key} is of the columns [{found}], the mapping has [{expected}]"
                )));
            }
        }
        let is_ascending = |ends: &Vec<f64>| ends.windows(2).all(|pair| pair[0] < pair[1]);
        if !read.buckets.values().all(is_ascending) {
            return Err(unusable("the ends of ranges do not ascend".to_owned()));
        }
        Ok(read)
    }
}

fn names<'a>(columns: impl Iterator<Item = &'a String>) -> String {
    columns.map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// What one thread has counted.
#[derive(Debug)]
pub(super) struct Counter {
    one_hot: Vec<HashMap<Box<str>, u64>>,
    discrete: Vec<HashMap<Box<str>, u64>>,
    sample: Sample,
}

impl Counter {
    pub(super) fn new(plan: &Plan) -> Self {
        let empty = |categories: &[Category]| vec![HashMap::new(); categories.len()];
        Self {
            one_hot: empty(&plan.one_hot),
            discrete: empty(&plan.discrete),
            sample: Sample::default(),
        }
    }

    /// Counts a row that is trained on.
    pub(super) fn add(&mut self, plan: &Plan, row: &Row) -> Result<(), Failure> {
        count(&plan.one_hot, &mut self.one_hot, row)?;
        count(&plan.discrete, &mut self.discrete, row)?;
        if self.sample.wants(row.index) && !plan.buckets.is_empty() {
            let numbers = plan.buckets.iter().map(|b| row.number_in(&b.column));
            self.sample
                .add(row.index, numbers.collect::<Result<_, _>>()?);
        }
        Ok(())
    }

    /// Takes in what another thread has counted.
    pub(super) fn merge(&mut self, other: Self) {
        let pairs = [
            (&mut self.one_hot, other.one_hot),
            (&mut self.discrete, other.discrete),
        ];
        for (own, other) in pairs {
            for (own, other) in own.iter_mut().zip(other) {
                for (value, count) in other {
                    *own.entry(value).or_default() += count;
                }
            }
        }
        self.sample.merge(other.sample);
    }

    pub(super) fn finish(self, plan: &Plan) -> Vocabulary {
        let values = |counts: Vec<HashMap<Box<str>, u64>>, categories: &[Category]| {
            let pairs = categories.iter().zip(counts);
            let named = pairs.map(|(c, n)| (c.column.name.clone(), Values::of(n, c)));
            named.collect()
        };
        let buckets = plan.buckets.iter().enumerate().map(|(place, bucketed)| {
            let ends = match &bucketed.ranges {
                Ranges::At(ends) => ends.clone(),
                Ranges::Count(count) => self.sample.ranges(place, *count),
            };
            (bucketed.column.name.clone(), ends)
        });
        let buckets = buckets.collect();
        Vocabulary {
            one_hot: values(self.one_hot, &plan.one_hot),
            buckets,
            discrete: values(self.discrete, &plan.discrete),
        }
    }
}

fn count(
    categories: &[Category],
    counts: &mut [HashMap<Box<str>, u64>],
    row: &Row,
) -> Result<(), Failure> {
    for (category, counts) in categories.iter().zip(counts) {
        let text = row.text_in(&category.column)?;
        match counts.get_mut(text.as_ref()) {
            Some(count) => *count += 1,
            None => drop(counts.insert(text.into(), 1)),
        }
    }
    Ok(())
}
