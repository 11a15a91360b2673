//! Reads a serialised tf.Example straight into the next row of columns: only the features and columns that are used.
//!
//! `Example { Features features = 1 }`, `Features { map<string, Feature> feature = 1 }`, and `Feature` is one of
//! `bytes_list = 1`, `float_list = 2`, `int64_list = 3`, each with `repeated value = 1`, packed or not, in any mix.

use std::collections::HashMap;

use super::columns::{Column, Spec};
use super::error::RecordError;
use super::lists::{List, Values, packed_list};
use super::places::{Entry, Places};
use super::targets::Targets;
use super::wire::{Field, Wire};

/// Which features are read, and which of their columns.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) specs: Vec<Spec>,
    /// Empty where rows are not learned from.
    pub(crate) targets: Targets,
    by_key: HashMap<Box<[u8]>, usize>,
}

impl Layout {
    pub(crate) fn new(specs: Vec<Spec>) -> Self {
        let by_key = specs
            .iter()
            .enumerate()
            .map(|(index, spec)| (spec.feature.key.as_bytes().into(), index))
            .collect();
        Self {
            specs,
            targets: Targets::default(),
            by_key,
        }
    }

    /// Empty columns with room for `rows` rows.
    pub(crate) fn columns(&self, rows: usize) -> Vec<Column> {
        self.specs.iter().map(|spec| spec.column(rows)).collect()
    }
}

/// What one thread needs to read examples without allocating.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Where each used feature lies in the payload.
    found: Vec<Option<Entry>>,
    places: Places,
    values: Values,
}

impl Scratch {
    /// Appends `payload` as a row to `columns`, which [`Layout::columns`] made. After an error they end in
    /// parts of it.
    pub(crate) fn read(
        &mut self,
        layout: &Layout,
        payload: &[u8],
        columns: &mut [Column],
    ) -> Result<(), RecordError> {
        self.locate(layout, payload)?;
        for (index, (spec, column)) in layout.specs.iter().zip(columns.iter_mut()).enumerate() {
            let list = match self.found[index] {
                Some(entry) => List::of(payload, entry, spec)?,
                None => None,
            };
            match list {
                Some(list) => list.read(spec, column, &mut self.values)?,
                None => column.push_default(spec)?,
            }
        }
        layout.targets.check(&layout.specs, columns)
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
            while !features.is_empty() {
                let entry = match self.places.pass(place, &mut features) {
                    Some(entry) => Some(entry),
                    None => self.read_entry(layout, payload, place, &mut features)?,
                };
                let Some(entry) = entry else { continue };
                if let Some(feature) = entry.feature {
                    self.found[feature] = Some(entry);
                }
                place += 1;
            }
        }
        Ok(())
    }

    /// Reads the next field of `features`, and if it is an entry of the map, what it says.
    fn read_entry(
        &mut self,
        layout: &Layout,
        payload: &[u8],
        place: usize,
        features: &mut Wire<'_>,
    ) -> Result<Option<Entry>, RecordError> {
        let (start, _) = features.span();
        let Some((1, Field::Bytes(fields))) = features.field()? else {
            return Ok(None);
        };
        let (end, _) = features.span();
        let (key, value) = key_and_value(fields)?;
        let feature = self.lookup(layout, key, place);
        let feature = match feature {
            Some(index) if has_kind(value)? => Some(index),
            _ => None,
        };
        let packed = feature.and_then(|index| packed_list(value, &layout.specs[index]));
        let value = value.span();
        let entry = Entry {
            feature,
            value,
            packed: packed.map(Wire::span),
        };
        self.places.remember(place, payload, (start, end), entry);
        Ok(Some(entry))
    }

    fn lookup(&mut self, layout: &Layout, key: &[u8], place: usize) -> Option<usize> {
        if let Some(feature) = self.places.feature(place, key) {
            return feature;
        }
        let feature = layout.by_key.get(key).copied();
        self.places.remember_key(place, key, feature);
        feature
    }
}

fn key_and_value(mut entry: Wire<'_>) -> Result<(&[u8], Wire<'_>), RecordError> {
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
