//! Reads the list of one feature, in any legal encoding, and checks its type and length.

use super::columns::{Column, Keep, Spec};
use super::error::RecordError;
use super::places::Entry;
use super::schema::{Dtype, Length};
use super::wire::{Field, Wire};
use crate::batch::HostValues;

/// Room for the values of one list.
#[derive(Debug, Default)]
pub(crate) struct Values {
    floats: Vec<f32>,
    ints: Vec<i64>,
}

/// A list of the type that the schema says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum List<'a> {
    /// One packed chunk, the usual case.
    Packed(Wire<'a>),
    /// A `Feature` in any other encoding.
    Feature(Wire<'a>),
}

impl<'a> List<'a> {
    /// The list of `entry`, which lies in `payload`; `None` if it has none.
    pub(crate) fn of(
        payload: &'a [u8],
        entry: Entry,
        spec: &Spec,
    ) -> Result<Option<Self>, RecordError> {
        if let Some(packed) = entry.packed {
            return Ok(Some(Self::Packed(Wire::within(payload, packed))));
        }
        let feature = typed_list(Wire::within(payload, entry.value), spec)?;
        Ok(feature.map(Self::Feature))
    }

    /// Appends the list as a row of `column`.
    pub(crate) fn read(
        self,
        spec: &Spec,
        column: &mut Column,
        scratch: &mut Values,
    ) -> Result<(), RecordError> {
        let is_fixed = column.ends.is_none();
        match (&mut column.values, self) {
            (HostValues::F32(row), Self::Packed(chunk)) if is_fixed => {
                read_packed_floats(spec, chunk, row)?;
            }
            (HostValues::I64(row), Self::Packed(chunk)) if is_fixed => {
                read_packed_ints(spec, chunk, row, &mut scratch.ints)?;
            }
            (HostValues::F32(row), list) if is_fixed => {
                scratch.floats.clear();
                push_floats(spec, list, &mut scratch.floats)?;
                keep(spec, &scratch.floats, row)?;
            }
            (HostValues::I64(row), list) if is_fixed => {
                scratch.ints.clear();
                push_ints(spec, list, &mut scratch.ints)?;
                keep(spec, &scratch.ints, row)?;
            }
            (HostValues::Bytes(row), Self::Feature(feature)) if is_fixed => {
                read_strings(spec, feature, row)?;
            }
            (values, list) => append(spec, list, values)?,
        }
        column.end_row();
        Ok(())
    }
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

/// The one packed chunk of the right type that `feature` consists of, the usual case.
pub(crate) fn packed_list<'a>(feature: Wire<'a>, spec: &Spec) -> Option<Wire<'a>> {
    let wanted = match spec.feature.dtype {
        Dtype::Bytes => return None,
        Dtype::Float => 2,
        Dtype::Int64 => 3,
    };
    let mut feature = feature;
    let Ok(Some((number, Field::Bytes(mut list)))) = feature.field() else {
        return None;
    };
    if number != wanted || !feature.is_empty() {
        return None;
    }
    match list.field() {
        Ok(Some((1, Field::Bytes(chunk)))) if list.is_empty() => Some(chunk),
        _ => None,
    }
}

fn read_packed_floats(spec: &Spec, chunk: Wire<'_>, row: &mut Vec<f32>) -> Result<(), RecordError> {
    let cells = packed_floats(chunk)?;
    check_len(spec, cells.len())?;
    let value = |bytes: &[u8; 4]| f32::from_bits(u32::from_le_bytes(*bytes) & spec.mantissa);
    match &spec.keep {
        Keep::First(width) => row.extend(cells[..*width].iter().map(value)),
        Keep::Picked(positions) => {
            row.extend(positions.iter().map(|&position| value(&cells[position])));
        }
    }
    Ok(())
}

fn packed_floats(chunk: Wire<'_>) -> Result<&[[u8; 4]], RecordError> {
    let (cells, rest) = chunk.bytes().as_chunks::<4>();
    if rest.is_empty() {
        Ok(cells)
    } else {
        Err(chunk.malformed("a packed list of floats is cut short"))
    }
}

fn read_packed_ints(
    spec: &Spec,
    chunk: Wire<'_>,
    row: &mut Vec<i64>,
    scratch: &mut Vec<i64>,
) -> Result<(), RecordError> {
    let bytes = chunk.bytes();
    // Small numbers, the usual case: each byte is one of them.
    if bytes.iter().fold(0, |bits, byte| bits | byte) < 0x80 {
        check_len(spec, bytes.len())?;
        match &spec.keep {
            Keep::First(width) => row.extend(bytes[..*width].iter().map(|&byte| i64::from(byte))),
            Keep::Picked(positions) => {
                row.extend(positions.iter().map(|&at| i64::from(bytes[at])));
            }
        }
        return Ok(());
    }
    scratch.clear();
    push_varints(chunk, scratch)?;
    keep(spec, scratch, row)
}

fn push_varints(mut chunk: Wire<'_>, values: &mut Vec<i64>) -> Result<(), RecordError> {
    while !chunk.is_empty() {
        values.push(chunk.varint()?.cast_signed());
    }
    Ok(())
}

fn read_strings(spec: &Spec, feature: Wire<'_>, row: &mut Vec<Vec<u8>>) -> Result<(), RecordError> {
    let (before, mut count) = (row.len(), 0);
    let width = spec.keep.width();
    for_each_value(spec, feature, |value| {
        if let Field::Bytes(bytes) = value {
            if count < width {
                row.push(bytes.bytes().to_vec());
            }
            count += 1;
        }
        Ok(())
    })?;
    debug_assert!(row.len() - before <= width, "no more than the feature has");
    check_len(spec, count)
}

/// Appends a list of any length.
fn append(spec: &Spec, list: List<'_>, values: &mut HostValues) -> Result<(), RecordError> {
    match (values, list) {
        (HostValues::F32(values), list) => push_floats(spec, list, values),
        (HostValues::I64(values), list) => push_ints(spec, list, values),
        (HostValues::Bytes(values), List::Feature(feature)) => {
            for_each_value(spec, feature, |value| {
                if let Field::Bytes(bytes) = value {
                    values.push(bytes.bytes().to_vec());
                }
                Ok(())
            })
        }
        // Columns that are being read hold nothing else, and strings are never packed.
        _ => Ok(()),
    }
}

fn push_floats(spec: &Spec, list: List<'_>, values: &mut Vec<f32>) -> Result<(), RecordError> {
    let masked = |bytes: [u8; 4]| f32::from_bits(u32::from_le_bytes(bytes) & spec.mantissa);
    let feature = match list {
        List::Packed(chunk) => {
            values.extend(packed_floats(chunk)?.iter().map(|&bytes| masked(bytes)));
            return Ok(());
        }
        List::Feature(feature) => feature,
    };
    for_each_value(spec, feature, |value| {
        match value {
            Field::Fixed32(bytes) => values.push(masked(bytes)),
            Field::Bytes(chunk) => {
                values.extend(packed_floats(chunk)?.iter().map(|&bytes| masked(bytes)));
            }
            Field::Varint(_) | Field::Other => {}
        }
        Ok(())
    })
}

fn push_ints(spec: &Spec, list: List<'_>, values: &mut Vec<i64>) -> Result<(), RecordError> {
    let feature = match list {
        List::Packed(chunk) => return push_varints(chunk, values),
        List::Feature(feature) => feature,
    };
    for_each_value(spec, feature, |value| match value {
        Field::Varint(value) => {
            values.push(value.cast_signed());
            Ok(())
        }
        Field::Bytes(chunk) => push_varints(chunk, values),
        Field::Fixed32(_) | Field::Other => Ok(()),
    })
}

/// Appends the values of `spec` that are kept.
fn keep<T: Copy>(spec: &Spec, values: &[T], row: &mut Vec<T>) -> Result<(), RecordError> {
    check_len(spec, values.len())?;
    match &spec.keep {
        Keep::First(width) => row.extend_from_slice(&values[..*width]),
        Keep::Picked(positions) => row.extend(positions.iter().map(|&position| values[position])),
    }
    Ok(())
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
