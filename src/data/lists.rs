//! Reads the list of one feature, in any legal encoding, and checks its type and length.

use super::columns::{Keep, Spec};
use super::error::RecordError;
use super::schema::{Dtype, Length};
use super::wire::{Field, Wire};
use crate::batch::HostValues;

/// Checks the kind of `feature` (the first that is set counts) and returns the feature itself.
pub(crate) fn typed_list<'a>(
    feature: Wire<'a>,
    spec: &Spec,
) -> Result<Option<Wire<'a>>, RecordError> {
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

pub(crate) fn read_floats(
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

pub(crate) fn read_ints(
    spec: &Spec,
    feature: Wire<'_>,
    row: &mut [i64],
    scratch: &mut Vec<i64>,
) -> Result<(), RecordError> {
    if let (Some(mut chunk), Keep::First(_)) = (single_chunk(feature)?, &spec.keep) {
        let bytes = chunk.bytes();
        if bytes.iter().all(|&byte| byte < 0x80) {
            // Small numbers, the usual case: each byte is one of them.
            check_len(spec, bytes.len())?;
            for (cell, &byte) in row.iter_mut().zip(bytes) {
                *cell = byte.into();
            }
            return Ok(());
        }
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
    while !chunk.is_empty() {
        chunk.varint()?;
    }
    Ok(())
}

pub(crate) fn read_strings(
    spec: &Spec,
    feature: Wire<'_>,
    row: &mut [Vec<u8>],
) -> Result<(), RecordError> {
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
pub(crate) fn append(
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

pub(crate) fn len(values: &HostValues) -> usize {
    match values {
        HostValues::F32(values) => values.len(),
        HostValues::I64(values) => values.len(),
        HostValues::Bytes(values) => values.len(),
        _ => 0,
    }
}
