//! Reads a serialised tf.Example straight into the row of a batch: only the features and columns that are used.
//!
//! `Example { Features features = 1 }`, `Features { map<string, Feature> feature = 1 }`, and `Feature` is one of
//! `bytes_list = 1`, `float_list = 2`, `int64_list = 3`, each with `repeated value = 1`, packed or not, in any mix.

use std::collections::HashMap;

use super::columns::{Column, Spec};
use super::error::RecordError;
use super::lists::{append, len, read_floats, read_ints, read_strings, typed_list};
use super::wire::{Field, Wire};
use crate::batch::HostValues;

/// Which features are read, and which of their columns.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) specs: Vec<Spec>,
    by_key: HashMap<Box<[u8]>, usize>,
}

impl Layout {
    pub(crate) fn new(specs: Vec<Spec>) -> Self {
        let by_key = specs
            .iter()
            .enumerate()
            .map(|(index, spec)| (spec.feature.key.as_bytes().into(), index))
            .collect();
        Self { specs, by_key }
    }

    /// Columns for `rows` rows.
    pub(crate) fn columns(&self, rows: usize) -> Vec<Column> {
        self.specs.iter().map(|spec| spec.column(rows)).collect()
    }
}

/// What one thread needs to read examples without allocating.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Where the value of each used feature lies in the payload.
    found: Vec<Option<(usize, usize)>>,
    /// The feature that was at each place in the map of the record before: records rarely differ in this.
    order: Vec<Option<usize>>,
    floats: Vec<f32>,
    ints: Vec<i64>,
}

impl Scratch {
    /// Reads `payload` into row `row` of `columns`, which [`Layout::columns`] made; rows come in ascending order.
    pub(crate) fn read(
        &mut self,
        layout: &Layout,
        payload: &[u8],
        columns: &mut [Column],
        row: usize,
    ) -> Result<(), RecordError> {
        self.locate(layout, payload)?;
        for (index, (spec, column)) in layout.specs.iter().zip(columns).enumerate() {
            let list = match self.found[index] {
                Some(span) => typed_list(Wire::within(payload, span), spec)?,
                None => None,
            };
            self.read_column(spec, list, column, row)?;
        }
        Ok(())
    }

    /// Finds the last entry of each used feature that has a kind set.
    fn locate(&mut self, layout: &Layout, payload: &[u8]) -> Result<(), RecordError> {
        self.found.clear();
        self.found.resize(layout.specs.len(), None);
        let mut place = 0;
        let mut example = Wire::new(payload);
        while let Some((number, field)) = example.field()? {
            let (1, Field::Bytes(mut features)) = (number, field) else {
                continue;
            };
            while let Some((number, field)) = features.field()? {
                let (1, Field::Bytes(entry)) = (number, field) else {
                    continue;
                };
                let (key, value) = read_entry(entry)?;
                if let Some(index) = self.lookup(layout, key, place)
                    && has_kind(value)?
                {
                    self.found[index] = Some(value.span());
                }
                place += 1;
            }
        }
        Ok(())
    }

    fn lookup(&mut self, layout: &Layout, key: &[u8], place: usize) -> Option<usize> {
        if let Some(&Some(index)) = self.order.get(place)
            && layout.specs[index].feature.key.as_bytes() == key
        {
            return Some(index);
        }
        let index = layout.by_key.get(key).copied();
        if place < MAX_REMEMBERED {
            if self.order.len() <= place {
                self.order.resize(place + 1, None);
            }
            self.order[place] = index;
        }
        index
    }

    fn read_column(
        &mut self,
        spec: &Spec,
        list: Option<Wire<'_>>,
        column: &mut Column,
        row: usize,
    ) -> Result<(), RecordError> {
        if let Some(ends) = &mut column.ends {
            append(spec, list, &mut column.values)?;
            ends.push(len(&column.values));
            return Ok(());
        }
        let Some(list) = list else { return Ok(()) };
        let width = spec.keep.width();
        let cells = row * width..(row + 1) * width;
        match &mut column.values {
            HostValues::F32(values) => {
                read_floats(spec, list, &mut values[cells], &mut self.floats)
            }
            HostValues::I64(values) => read_ints(spec, list, &mut values[cells], &mut self.ints),
            HostValues::Bytes(values) => read_strings(spec, list, &mut values[cells]),
            _ => Ok(()),
        }
    }
}

/// Entries whose order is remembered; a record with more is read as well, with a lookup for each further one.
const MAX_REMEMBERED: usize = 4096;

fn read_entry(mut entry: Wire<'_>) -> Result<(&[u8], Wire<'_>), RecordError> {
    let mut key: &[u8] = &[];
    let mut value = Wire::new(&[]);
    while let Some((number, field)) = entry.field()? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => key = bytes.bytes(),
            (2, Field::Bytes(message)) => value = message,
            _ => {}
        }
    }
    Ok((key, value))
}

/// Whether a `Feature` has a list; one without is as good as absent.
fn has_kind(mut feature: Wire<'_>) -> Result<bool, RecordError> {
    while let Some((number, field)) = feature.field()? {
        if matches!((number, field), (1..=3, Field::Bytes(_))) {
            return Ok(true);
        }
    }
    Ok(false)
}
