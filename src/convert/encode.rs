//! Makes a tf.Example of a row, and says in a schema what every example holds.

use std::sync::atomic::{AtomicBool, Ordering};

use super::cell::{Cell, Found};
use super::error::Failure;
use super::ids::Ids;
use super::plan::Plan;
use super::row::Row;
use super::tally::{Tally, Unknown};
use super::vocabulary::Vocabulary;
use crate::config::IdKind;
use crate::data::encode::ExampleWriter;

/// Of heavier rows the sums and squares of training have no room in 32 bits.
const MAX_WEIGHT: f32 = 1e9;

/// Everything that is needed to make examples; shared by all threads.
#[derive(Debug)]
pub(super) struct Encoder<'a> {
    pub(super) plan: &'a Plan,
    one_hot: Vec<Ids>,
    discrete: Vec<Ids>,
    buckets: Vec<&'a [f64]>,
    /// By continuous column: what stands for an empty cell.
    missing: Vec<f32>,
    /// Columns of the feature `binary`.
    pub(super) binary_width: usize,
    is_rounding_said: AtomicBool,
}

/// The buffers of one thread.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    writer: ExampleWriter,
    floats: Vec<f32>,
    ints: Vec<i64>,
    /// The serialised example.
    pub(super) payload: Vec<u8>,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(plan: &'a Plan, vocabulary: &'a Vocabulary) -> Self {
        let mut begin = 0;
        let one_hot = vocabulary.one_hot.values();
        let one_hot = one_hot.map(|values| Ids::of(values, &mut begin)).collect();
        let buckets: Vec<&[f64]> = vocabulary.buckets.values().map(Vec::as_slice).collect();
        let ranges: usize = buckets.iter().map(|ends| ends.len() + 1).sum();
        let discrete = vocabulary.discrete.values();
        let missing = plan.continuous.iter().map(|column| {
            let medians = vocabulary.medians.as_ref();
            let median = medians.and_then(|medians| medians.get(&column.name));
            narrow(plan.missing.or(median.copied()).unwrap_or(0.0))
        });
        Self {
            plan,
            missing: missing.collect(),
            one_hot,
            discrete: discrete.map(|values| Ids::of(values, &mut 0)).collect(),
            buckets,
            binary_width: begin + ranges,
            is_rounding_said: AtomicBool::new(false),
        }
    }

    /// Counts nothing yet.
    pub(super) fn tally(&self) -> Tally {
        let plan = self.plan;
        Tally::new(plan.labels.len(), plan.one_hot.len() + plan.discrete.len())
    }

    /// Makes the example of `row` in `scratch.payload`; counts its labels and unknown values in `tally`.
    pub(super) fn encode(
        &self,
        row: &Row,
        scratch: &mut Scratch,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let plan = self.plan;
        let (one_hot, discrete) = tally.unknown.split_at_mut(plan.one_hot.len());
        scratch.payload.clear();
        self.continuous(row, scratch)?;
        self.binary(row, scratch, one_hot)?;
        if !plan.discrete.is_empty() {
            scratch.ints.clear();
            let columns = plan.discrete.iter().zip(&self.discrete);
            for ((category, ids), unknown) in columns.zip(discrete) {
                scratch.ints.push(whole(ids.id(category, row, unknown)?));
            }
            scratch.writer.ints("discrete", &scratch.ints);
        }
        for (label, count) in plan.labels.iter().zip(&mut tally.positives) {
            let found = label.read(row)?;
            let is_positive = found == Some(true);
            *count += u64::from(is_positive);
            tally.unlabelled += u64::from(found.is_none());
            scratch.writer.ints(&label.task, &[i64::from(is_positive)]);
        }
        for weight in &plan.weights {
            let number = row.feature_in(&weight.column)?;
            let number = number.filter(|number| (0.0..=MAX_WEIGHT).contains(number));
            let number =
                number.ok_or_else(|| row.wrong(&weight.column, "a weight from 0 to 1e9"))?;
            scratch.writer.floats(&weight.key, &[number]);
        }
        self.ids(row, scratch)?;
        scratch.writer.finish(&mut scratch.payload);
        Ok(())
    }

    fn continuous(&self, row: &Row, scratch: &mut Scratch) -> Result<(), Failure> {
        scratch.floats.clear();
        for (column, missing) in self.plan.continuous.iter().zip(&self.missing) {
            let number = row.feature_in(column)?;
            if row.cell(column).time().is_some() {
                self.say_rounded(&column.name);
            }
            scratch.floats.push(number.unwrap_or(*missing));
        }
        scratch.writer.floats("continuous", &scratch.floats);
        Ok(())
    }

    /// Says of a column of times, once, what is lost of them.
    fn say_rounded(&self, column: &str) {
        if !self.is_rounding_said.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                column,
                "times in `continuous` are seconds since 1970 (or midnight) in 32 bits, to about two minutes: make features \
                 of them such as the hour or an age in days, or list them under `buckets`, which see every second"
            );
        }
    }

    fn binary(
        &self,
        row: &Row,
        scratch: &mut Scratch,
        unknown: &mut [Unknown],
    ) -> Result<(), Failure> {
        scratch.ints.clear();
        scratch.ints.resize(self.binary_width, 0);
        let mut begin = 0;
        let columns = self.plan.one_hot.iter().zip(&self.one_hot);
        for ((category, ids), unknown) in columns.zip(unknown) {
            scratch.ints[ids.begin + ids.id(category, row, unknown)?] = 1;
            begin = ids.begin + ids.width;
        }
        for (bucketed, ends) in self.plan.buckets.iter().zip(&self.buckets) {
            bucketed.check(row)?;
            let number = row.number_in(&bucketed.column)?;
            if let Some(number) = number {
                scratch.ints[begin + ends.partition_point(|end| *end <= number)] = 1;
            }
            begin += ends.len() + 1;
        }
        scratch.writer.ints("binary", &scratch.ints);
        Ok(())
    }

    fn ids(&self, row: &Row, scratch: &mut Scratch) -> Result<(), Failure> {
        for id in &self.plan.ids {
            match (&id.column, id.kind) {
                (None, _) => scratch.writer.ints(&id.name, &[row.index.cast_signed()]),
                (Some(column), IdKind::Integer) => {
                    let cell = row.cell(column);
                    let Found::Is(number) = cell.integer() else {
                        return Err(row.wrong(column, expected_id(cell)));
                    };
                    scratch.writer.ints(&id.name, &[number]);
                }
                (Some(column), IdKind::Text) => {
                    let text = row.text_in(column)?;
                    scratch.writer.strings(&id.name, [text.as_bytes()]);
                }
            }
        }
        Ok(())
    }

    /// The segdense schema of the examples: `(name, type, length)`.
    pub(super) fn schema(&self) -> Vec<(&str, &'static str, usize)> {
        let plan = self.plan;
        let mut entries = vec![
            ("continuous", "float_list", plan.continuous.len()),
            ("binary", "int64_list", self.binary_width),
        ];
        if !plan.discrete.is_empty() {
            entries.push(("discrete", "int64_list", plan.discrete.len()));
        }
        let labels = plan.labels.iter();
        entries.extend(labels.map(|label| (label.task.as_str(), "int64_list", 1)));
        let weights = plan.weights.iter();
        entries.extend(weights.map(|weight| (weight.key.as_str(), "float_list", 1)));
        for id in &plan.ids {
            let dtype = match id.kind {
                IdKind::Integer => "int64_list",
                IdKind::Text => "bytes_list",
            };
            entries.push((&id.name, dtype, 1));
        }
        entries
    }
}

/// What is expected of an integer id where `cell` stands.
fn expected_id(cell: Cell<'_>) -> &'static str {
    match (cell.time(), cell.exact()) {
        (Some(_), _) => "a time of whole microseconds, of which 64 bits hold the number",
        (None, Some(number)) if number.is_finite() => {
            "an integer from -2^63 to 2^63-1 (an id of `kind: text` may be any)"
        }
        _ => "an integer",
    }
}

#[allow(clippy::cast_possible_truncation, reason = "features are f32")]
fn narrow(number: f64) -> f32 {
    number as f32
}

fn whole(id: usize) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}
