//! Reads a serialised tf.Example straight into the row of a batch: only the features and columns that are used.
//!
//! `Example { Features features = 1 }`, `Features { map<string, Feature> feature = 1 }`, and `Feature` is one of
//! `bytes_list = 1`, `float_list = 2`, `int64_list = 3`, each with `repeated value = 1`, packed or not, in any mix.

use std::collections::HashMap;

use super::columns::{Column, Keep, Spec};
use super::error::RecordError;
use super::schema::{Dtype, Length};
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

/// Checks the kind of `feature` (the first that is set counts) and returns the feature itself.
fn typed_list<'a>(feature: Wire<'a>, spec: &Spec) -> Result<Option<Wire<'a>>, RecordError> {
    let mut fields = feature;
    while let Some((number, field)) = fields.field()? {
        let found = match (number, field) {
            (1, Field::Bytes(_)) => Dtype::Bytes,
            (2, Field::Bytes(_)) => Dtype::Float,
            (3, Field::Bytes(_)) => Dtype::Int64,
            _ => continue,
        };
        if found != spec.feature.dtype {
            return Err(RecordError::WrongType {
                feature: spec.feature.key.clone(),
                expected: spec.feature.dtype.name(),
                found: found.name(),
            });
        }
        return Ok(Some(feature));
    }
    Ok(None)
}

/// Calls `each` for every `value` field of every list of the right kind: lists in several pieces are joined.
fn for_each_value<'a>(
    spec: &Spec,
    mut feature: Wire<'a>,
    mut each: impl FnMut(Field<'a>) -> Result<(), RecordError>,
) -> Result<(), RecordError> {
    let wanted = match spec.feature.dtype {
        Dtype::Bytes => 1,
        Dtype::Float => 2,
        Dtype::Int64 => 3,
    };
    while let Some((number, field)) = feature.field()? {
        let Field::Bytes(mut list) = field else {
            continue;
        };
        if number == wanted {
            while let Some((number, value)) = list.field()? {
                if number == 1 {
                    each(value)?;
                }
            }
        }
    }
    Ok(())
}

/// The one packed chunk that `feature` consists of, the usual case.
fn single_chunk(feature: Wire<'_>) -> Result<Option<Wire<'_>>, RecordError> {
    let mut feature = feature;
    let Some((_, Field::Bytes(mut list))) = feature.field()? else {
        return Ok(None);
    };
    if !feature.is_empty() {
        return Ok(None);
    }
    match list.field()? {
        Some((1, Field::Bytes(chunk))) if list.is_empty() => Ok(Some(chunk)),
        _ => Ok(None),
    }
}

fn read_floats(
    spec: &Spec,
    feature: Wire<'_>,
    row: &mut [f32],
    scratch: &mut Vec<f32>,
) -> Result<(), RecordError> {
    let mask = spec.mantissa;
    let value = |bytes: &[u8; 4]| f32::from_bits(u32::from_le_bytes(*bytes) & mask);
    if let Some(chunk) = single_chunk(feature)? {
        let (cells, rest) = chunk.bytes().as_chunks::<4>();
        if !rest.is_empty() {
            return Err(chunk.malformed("a packed list of floats is cut short"));
        }
        check_len(spec, cells.len())?;
        match &spec.keep {
            Keep::First(_) => {
                for (cell, bytes) in row.iter_mut().zip(cells) {
                    *cell = value(bytes);
                }
            }
            Keep::Picked(positions) => {
                for (cell, &position) in row.iter_mut().zip(positions) {
                    *cell = value(&cells[position]);
                }
            }
        }
        return Ok(());
    }
    scratch.clear();
    push_floats(spec, feature, scratch)?;
    check_len(spec, scratch.len())?;
    keep(spec, scratch, row);
    Ok(())
}

fn read_ints(
    spec: &Spec,
    feature: Wire<'_>,
    row: &mut [i64],
    scratch: &mut Vec<i64>,
) -> Result<(), RecordError> {
    if let (Some(mut chunk), Keep::First(_)) = (single_chunk(feature)?, &spec.keep) {
        let count = chunk.bytes().iter().filter(|&&byte| byte < 0x80).count();
        check_len(spec, count)?;
        for cell in row {
            *cell = chunk.varint()?.cast_signed();
        }
        return check_varints(chunk);
    }
    scratch.clear();
    push_ints(spec, feature, scratch)?;
    check_len(spec, scratch.len())?;
    keep(spec, scratch, row);
    Ok(())
}

/// Checks the varints that are not kept: none longer than ten bytes, the last one whole.
fn check_varints(mut chunk: Wire<'_>) -> Result<(), RecordError> {
    if chunk.bytes().iter().all(|&byte| byte < 0x80) {
        return Ok(());
    }
    while !chunk.is_empty() {
        chunk.varint()?;
    }
    Ok(())
}

fn read_strings(spec: &Spec, feature: Wire<'_>, row: &mut [Vec<u8>]) -> Result<(), RecordError> {
    let mut count = 0;
    for_each_value(spec, feature, |value| {
        if let Field::Bytes(bytes) = value {
            if let Some(cell) = row.get_mut(count) {
                *cell = bytes.bytes().to_vec();
            }
            count += 1;
        }
        Ok(())
    })?;
    check_len(spec, count)
}

/// Appends a list of any length.
fn append(
    spec: &Spec,
    feature: Option<Wire<'_>>,
    values: &mut HostValues,
) -> Result<(), RecordError> {
    let Some(feature) = feature else {
        return Ok(());
    };
    match values {
        HostValues::F32(values) => push_floats(spec, feature, values),
        HostValues::I64(values) => push_ints(spec, feature, values),
        HostValues::Bytes(values) => for_each_value(spec, feature, |value| {
            if let Field::Bytes(bytes) = value {
                values.push(bytes.bytes().to_vec());
            }
            Ok(())
        }),
        _ => Ok(()),
    }
}

fn push_floats(spec: &Spec, feature: Wire<'_>, values: &mut Vec<f32>) -> Result<(), RecordError> {
    let masked = |bytes: [u8; 4]| f32::from_bits(u32::from_le_bytes(bytes) & spec.mantissa);
    for_each_value(spec, feature, |value| {
        match value {
            Field::Fixed32(bytes) => values.push(masked(bytes)),
            Field::Bytes(chunk) => {
                let (cells, rest) = chunk.bytes().as_chunks::<4>();
                if !rest.is_empty() {
                    return Err(chunk.malformed("a packed list of floats is cut short"));
                }
                values.extend(cells.iter().map(|&bytes| masked(bytes)));
            }
            Field::Varint(_) | Field::Other => {}
        }
        Ok(())
    })
}

fn push_ints(spec: &Spec, feature: Wire<'_>, values: &mut Vec<i64>) -> Result<(), RecordError> {
    for_each_value(spec, feature, |value| {
        match value {
            Field::Varint(value) => values.push(value.cast_signed()),
            Field::Bytes(mut chunk) => {
                while !chunk.is_empty() {
                    values.push(chunk.varint()?.cast_signed());
                }
            }
            Field::Fixed32(_) | Field::Other => {}
        }
        Ok(())
    })
}

fn keep<T: Copy>(spec: &Spec, values: &[T], row: &mut [T]) {
    match &spec.keep {
        Keep::First(width) => row.copy_from_slice(&values[..*width]),
        Keep::Picked(positions) => {
            for (cell, &position) in row.iter_mut().zip(positions) {
                *cell = values[position];
            }
        }
    }
}

fn check_len(spec: &Spec, found: usize) -> Result<(), RecordError> {
    match spec.feature.length {
        Length::Fixed(expected) if expected != found => Err(RecordError::WrongLength {
            feature: spec.feature.key.clone(),
            expected,
            found,
        }),
        _ => Ok(()),
    }
}

fn len(values: &HostValues) -> usize {
    match values {
        HostValues::F32(values) => values.len(),
        HostValues::I64(values) => values.len(),
        HostValues::Bytes(values) => values.len(),
        _ => 0,
    }
}
