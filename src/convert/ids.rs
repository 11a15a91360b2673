//! The id of a value: its place in the vocabulary, 0 where it is not there.

use std::collections::HashMap;

use super::error::Failure;
use super::number;
use super::plan::Category;
use super::row::Row;
use super::tally::Unknown;
use super::vocabulary::Values;

/// The ids of one column, and where its columns begin in `binary`.
#[derive(Debug)]
pub(super) struct Ids {
    by_value: HashMap<String, usize>,
    /// Whether the column holds numbers alone, so that `3.0` is `3`.
    are_numbers: bool,
    pub(super) begin: usize,
    /// Ids there are, 0 included.
    pub(super) width: usize,
}

impl Ids {
    /// Those of `values`, beginning at `begin`, which moves behind them.
    pub(super) fn of(values: &Values, begin: &mut usize) -> Self {
        let mut by_value: HashMap<String, usize> = values.values.iter().cloned().zip(1..).collect();
        let are_numbers = number::are_numbers(values.values.iter().map(String::as_str));
        if are_numbers {
            // Files of earlier versions may hold `3.0`.
            for (id, value) in (1..).zip(&values.values) {
                if let Some(short) = number::short(value) {
                    by_value.entry(short.into_owned()).or_insert(id);
                }
            }
        }
        let ids = Self {
            by_value,
            are_numbers,
            begin: *begin,
            width: values.width(),
        };
        *begin += ids.width;
        ids
    }

    /// The id of what `row` has in the column; an unknown value is counted in `unknown`.
    pub(super) fn id(
        &self,
        category: &Category,
        row: &Row,
        unknown: &mut Unknown,
    ) -> Result<usize, Failure> {
        let text = row.text_in(&category.column)?;
        let id = self.find(&text);
        if id == 0 {
            unknown.add(row.index, &text);
        }
        Ok(id)
    }

    fn find(&self, text: &str) -> usize {
        let exact = self.by_value.get(text);
        let as_number = || {
            let short = self.are_numbers.then(|| number::short(text)).flatten()?;
            self.by_value.get(short.as_ref())
        };
        exact.or_else(as_number).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(values: &[&str]) -> Ids {
        let values = Values {
            values: values.iter().map(ToString::to_string).collect(),
            counts: vec![1; values.len()],
        };
        Ids::of(&values, &mut 0)
    }

    #[test]
    fn a_whole_float_is_the_integer_where_all_values_are_numbers() {
        for values in [["3", "5"], ["3.0", "5.0"]] {
            let ids = ids(&values);
            let found = ["3", "3.0", "3.", "5.00", "4", "03", ""].map(|text| ids.find(text));
            assert_eq!(found, [1, 1, 1, 2, 0, 0, 0]);
            assert_eq!(ids.width, 3);
        }
    }

    #[test]
    fn codes_are_told_apart_as_they_are_written() {
        let ids = ids(&["3", "03", "x"]);
        let found = ["3", "03", "3.0", "x"].map(|text| ids.find(text));
        assert_eq!(found, [1, 2, 0, 3]);
    }
}
