//! Reads a serialised tf.Example straight into the next row of columns: only the features and columns that are used.
//!
//! `Example { Features features = 1 }`, `Features { map<string, Feature> feature = 1 }`, and `Feature` is one of
//! `bytes_list = 1`, `float_list = 2`, `int64_list = 3`, each with `repeated value = 1`, packed or not, in any mix.

use std::collections::HashMap;
use std::path::Path;

use super::columns::{Column, Spec};
use super::error::RecordError;
use super::lists::{List, Values, packed_list};
use super::places::{Entry, Places};
use super::scalars::{self, Missing, Noticed};
use super::schema::{Dtype, Length};
use super::targets::Targets;
use super::wire::{Field, Wire};

/// Entries that are tried before one is looked up, where some may be left out.
const PLACES_AHEAD: usize = 4;

/// Which features are read, and which of their columns.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) specs: Vec<Spec>,
    /// Empty where rows are not learned from.
    pub(crate) targets: Targets,
    /// What is looked for in a record: a list for each feature, or its parts that are kept. By slot, the feature.
    slots: Vec<usize>,
    by_key: HashMap<Box<[u8]>, usize>,
    /// Whether features are made of parts.
    has_parts: bool,
    noticed: Noticed,
}

impl Layout {
    pub(crate) fn new(specs: Vec<Spec>) -> Self {
        let mut slots = Vec::new();
        let mut by_key = HashMap::new();
        for (index, spec) in specs.iter().enumerate() {
            for key in keys(spec) {
                by_key.insert(key.as_bytes().into(), slots.len());
                slots.push(index);
            }
        }
        Self {
            has_parts: specs.iter().any(|spec| spec.feature.parts.is_some()),
            specs,
            slots,
            by_key,
            targets: Targets::default(),
            noticed: Noticed::default(),
        }
    }

    /// Empty columns with room for `rows` rows.
    pub(crate) fn columns(&self, rows: usize) -> Vec<Column> {
        self.specs.iter().map(|spec| spec.column(rows)).collect()
    }
}

/// The keys that `spec` is read from, in order.
fn keys(spec: &Spec) -> Vec<&str> {
    match &spec.feature.parts {
        None => vec![spec.feature.key.as_str()],
        Some(parts) => {
            let kept = (0..spec.keep.width()).map(|n| spec.keep.position(n));
            kept.map(|position| parts.keys[position].as_str()).collect()
        }
    }
}

/// What one thread needs to read examples without allocating.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// What lies in the payload, by slot.
    found: Vec<Option<Entry>>,
    places: Places,
    values: Values,
    missing: Missing,
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
        let mut slot = 0;
        for (spec, column) in layout.specs.iter().zip(columns.iter_mut()) {
            if let Some(parts) = &spec.feature.parts {
                let found = &self.found[slot..slot + spec.keep.width()];
                slot += found.len();
                scalars::read(
                    (spec, parts.as_ref()),
                    payload,
                    found,
                    column,
                    &layout.noticed,
                )?;
                continue;
            }
            let list = match self.found[slot] {
                Some(entry) => List::of(payload, entry, spec)?,
                None => None,
            };
            slot += 1;
            match list {
                Some(list) => list.read(spec, column, &mut self.values)?,
                None => column.push_default(spec)?,
            }
        }
        if !layout.noticed.is_reported() {
            self.missing.add(&self.found);
        }
        layout.targets.check(&layout.specs, columns)
    }

    /// Warns, once for all threads, of keys that the records so far, of `file`, all lack and that count as 0 there.
    pub(crate) fn report_missing(&self, layout: &Layout, file: &Path) {
        let keys = layout.specs.iter().flat_map(|spec| {
            let is_zero = spec.feature.length != Length::Variable;
            keys(spec).into_iter().map(move |key| (is_zero, key))
        });
        let fixed = keys.enumerate().filter(|(_, (is_zero, _))| *is_zero);
        let fixed = fixed.map(|(slot, (_, key))| (slot, key));
        self.missing.report(&layout.noticed, file, fixed);
    }

    /// Finds the last entry of each used feature that has a kind set.
    fn locate(&mut self, layout: &Layout, payload: &[u8]) -> Result<(), RecordError> {
        self.found.clear();
        self.found.resize(layout.slots.len(), None);
        self.places.begin();
        // Keys that are columns are often left out where there is no value; lists hardly ever.
        let ahead = if layout.has_parts { PLACES_AHEAD } else { 1 };
        let mut example = Wire::new(payload);
        while let Some((number, field)) = example.field()? {
            let (1, Field::Bytes(mut features)) = (number, field) else {
                continue;
            };
            while !features.is_empty() {
                let entry = match self.places.pass(ahead, &mut features) {
                    Some(entry) => Some(entry),
                    None => self.read_entry(layout, payload, &mut features)?,
                };
                let Some(entry) = entry else { continue };
                if let Some(slot) = entry.slot {
                    self.found[slot] = Some(entry);
                }
            }
        }
        Ok(())
    }

    /// Reads the next field of `features`, and if it is an entry of the map, what it says.
    fn read_entry(
        &mut self,
        layout: &Layout,
        payload: &[u8],
        features: &mut Wire<'_>,
    ) -> Result<Option<Entry>, RecordError> {
        let (start, _) = features.span();
        let Some((1, Field::Bytes(fields))) = features.field()? else {
            return Ok(None);
        };
        let (end, _) = features.span();
        let (key, value) = key_and_value(fields)?;
        let slot = match self
            .places
            .enter(key, |key| layout.by_key.get(key).copied())
        {
            Some(slot) if has_kind(value)? => Some(slot),
            _ => None,
        };
        let packed = slot.and_then(|slot| {
            let spec = &layout.specs[layout.slots[slot]];
            match spec.feature.parts {
                Some(_) => scalars::packed(value),
                None => {
                    packed_list(value, spec).map(|list| (list, spec.feature.dtype == Dtype::Int64))
                }
            }
        });
        let entry = Entry {
            slot,
            value: value.span(),
            packed: packed.map(|(list, _)| list.span()),
            is_int: packed.is_some_and(|(_, is_int)| is_int),
        };
        self.places.remember(payload, (start, end), entry);
        Ok(Some(entry))
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

/// Calls `each` with key and value of every entry of the example `payload`.
pub(crate) fn entries<'a>(
    payload: &'a [u8],
    mut each: impl FnMut(&'a [u8], Wire<'a>),
) -> Result<(), RecordError> {
    let mut example = Wire::new(payload);
    while let Some((number, field)) = example.field()? {
        let (1, Field::Bytes(mut features)) = (number, field) else {
            continue;
        };
        while let Some((number, field)) = features.field()? {
            if let (1, Field::Bytes(entry)) = (number, field) {
                let (key, value) = key_and_value(entry)?;
                each(key, value);
            }
        }
    }
    Ok(())
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
