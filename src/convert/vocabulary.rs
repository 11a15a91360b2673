//! What is learned of the rows that are trained on: the values of categorical columns, the ranges of numeric ones.

use std::collections::HashMap;
use std::path::Path;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::error::{ConvertError, Failure};
use super::number;
use super::plan::{Category, Plan};
use super::ranges::Ranges;
use super::row::Row;
use super::sample::{SIZE, Sample};
use super::vocabulary_file;

/// The version of the file that this program writes; 0 stands for files without one.
pub(super) const VERSION: u64 = 1;

/// The most continuous numbers that a thread keeps.
const MAX_NUMBERS: usize = 1 << 21;

/// The file `vocabulary.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Vocabulary {
    pub(super) version: u64,
    /// Rows that were counted; `None` in old files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rows: Option<u64>,
    /// Columns of the feature `binary` that the rest amounts to; `None` in old files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) binary_width: Option<usize>,
    /// By continuous column: the median of what was counted, which stands for an empty cell where the mapping names
    /// nothing else; `None` in old files, where 0 does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) medians: Option<IndexMap<String, f64>>,
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

    /// Of `rows` rows that were counted, the share whose value is not known.
    pub(super) fn unknown_share(&self, rows: u64) -> f64 {
        let known: u64 = self.counts.iter().fold(0, |sum, n| sum.saturating_add(*n));
        rows.saturating_sub(known) as f64 / rows.max(1) as f64
    }

    fn of(counts: HashMap<Box<str>, u64>, category: &Category) -> Self {
        let counts = number::unified(counts);
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
        vocabulary_file::read(path, plan).map_err(|reason| ConvertError::Vocabulary {
            path: path.to_owned(),
            reason,
        })
    }

    /// Columns of the feature `binary`.
    pub(super) fn width(&self) -> usize {
        let values: usize = self.one_hot.values().map(Values::width).sum();
        let ranges: usize = self.buckets.values().map(|ends| ends.len() + 1).sum();
        values + ranges
    }
}

/// What one thread has counted.
#[derive(Debug)]
pub(super) struct Counter {
    rows: u64,
    one_hot: Vec<HashMap<Box<str>, u64>>,
    discrete: Vec<HashMap<Box<str>, u64>>,
    /// Of bucketed columns.
    sample: Sample,
    /// Of continuous columns.
    continuous: Sample,
}

impl Counter {
    pub(super) fn new(plan: &Plan) -> Self {
        let empty = |categories: &[Category]| vec![HashMap::new(); categories.len()];
        Self {
            rows: 0,
            one_hot: empty(&plan.one_hot),
            discrete: empty(&plan.discrete),
            sample: Sample::new(SIZE),
            continuous: Sample::new((MAX_NUMBERS / plan.continuous.len().max(1)).clamp(512, SIZE)),
        }
    }

    /// Rows that were counted.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Counts a row that is trained on.
    pub(super) fn add(&mut self, plan: &Plan, row: &Row) -> Result<(), Failure> {
        self.rows += 1;
        count(&plan.one_hot, &mut self.one_hot, row)?;
        count(&plan.discrete, &mut self.discrete, row)?;
        if self.sample.wants(row.index) && !plan.buckets.is_empty() {
            let numbers = plan.buckets.iter().map(|b| row.number_in(&b.column));
            self.sample
                .add(row.index, numbers.collect::<Result<_, _>>()?);
        }
        if self.continuous.wants(row.index) && !plan.continuous.is_empty() {
            // What is no number is reported when its row is written, in the order of rows.
            let number = |column| row.number_in(column).ok().flatten();
            let numbers = plan.continuous.iter().map(number);
            self.continuous.add(row.index, numbers.collect());
        }
        Ok(())
    }

    /// Takes in what another thread has counted.
    pub(super) fn merge(&mut self, other: Self) {
        self.rows += other.rows;
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
        self.continuous.merge(other.continuous);
    }

    /// Whether a continuous column has values so far out that their logarithm says more than they do themselves.
    pub(super) fn is_heavy_tailed(&self, plan: &Plan) -> bool {
        (0..plan.continuous.len()).any(|place| is_heavy_tailed(&self.continuous.numbers(place)))
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
        let medians = plan.continuous.iter().enumerate().map(|(place, column)| {
            let numbers = self.continuous.numbers(place);
            let median = numbers.get(numbers.len() / 2).copied();
            if median.is_none() {
                warn!(
                    column = column.name,
                    "a continuous column has no number in any row that was looked at: it is 0 everywhere"
                );
            }
            (column.name.clone(), median.unwrap_or(0.0))
        });
        let medians = medians.collect();
        let mut vocabulary = Vocabulary {
            medians: Some(medians),
            version: VERSION,
            rows: Some(self.rows),
            binary_width: None,
            one_hot: values(self.one_hot, &plan.one_hot),
            buckets,
            discrete: values(self.discrete, &plan.discrete),
        };
        vocabulary.binary_width = Some(vocabulary.width());
        vocabulary
    }
}

/// Whether some of the ascending `numbers` are ten times as far from the middle as the middle half is wide.
fn is_heavy_tailed(numbers: &[f64]) -> bool {
    let at = |share: usize| numbers.get(share * numbers.len() / 1000).copied();
    let (Some(low), Some(first), Some(median), Some(third), Some(high)) =
        (at(5), at(250), at(500), at(750), at(995))
    else {
        return false;
    };
    let reach = (high - median).max(median - low);
    // Where most values are the same, as counts and amounts often are, a width of 1 is taken.
    let width = if third > first { third - first } else { 1.0 };
    reach > 10.0 * width
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_heavy_where_few_values_are_far_out() {
        let numbers = |f: fn(f64) -> f64| {
            (0..1000)
                .map(|i| f(f64::from(i) / 1000.0))
                .collect::<Vec<_>>()
        };
        assert!(!is_heavy_tailed(&numbers(|x| x)));
        assert!(
            !is_heavy_tailed(&numbers(|x| -(1.0 - x).ln())),
            "exponential"
        );
        assert!(!is_heavy_tailed(&numbers(|x| f64::from(x > 0.9))), "a flag");
        assert!(is_heavy_tailed(&numbers(|x| (x / (1.0001 - x)).powi(2))));
        assert!(
            is_heavy_tailed(&numbers(|x| if x > 0.95 { 5000.0 } else { 0.0 })),
            "amounts"
        );
        assert!(!is_heavy_tailed(&[]));
        assert!(!is_heavy_tailed(&[1.0]));
    }
}
