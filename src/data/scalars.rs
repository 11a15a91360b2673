//! Reads features that are made of keys with one number each, as most writers of tables write them.

use std::sync::atomic::{AtomicBool, Ordering};

use super::columns::{Column, Spec};
use super::error::RecordError;
use super::places::Entry;
use super::schema::Parts;
use super::wire::{Field, Wire};
use crate::batch::HostValues;

/// Whole numbers up to this size are exact in f32.
const EXACT: u64 = 1 << 24;

/// A number as it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Float(f32),
    Int(i64),
}

/// What is noticed on the way, to be said once.
#[derive(Debug, Default)]
pub(crate) struct Noticed {
    rounded: AtomicBool,
    missing: AtomicBool,
}

/// How often the parts of features were missing, by slot.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    counts: Vec<u64>,
    rows: u64,
}

/// Appends a row to `column`: of each kept part of `spec` the number that `found` says, in this order.
pub(crate) fn read(
    (spec, parts): (&Spec, &Parts),
    payload: &[u8],
    found: &[Option<Entry>],
    column: &mut Column,
    noticed: &Noticed,
) -> Result<(), RecordError> {
    for (part, entry) in found.iter().enumerate() {
        let key = || parts.keys[spec.keep.position(part)].clone();
        let number = match entry {
            Some(entry) => number(payload, *entry, &key)?,
            None if parts.required => return Err(RecordError::NoColumn { key: key() }),
            None => Number::Int(0),
        };
        match &mut column.values {
            HostValues::F32(row) => row.push(float(number, spec.mantissa, noticed, &key)),
            HostValues::I64(row) => row.push(whole(number, &key)?),
            // Parts are read as numbers alone.
            _ => {}
        }
    }
    Ok(())
}

fn float(number: Number, mantissa: u32, noticed: &Noticed, key: &dyn Fn() -> String) -> f32 {
    let value = match number {
        Number::Float(value) => value,
        Number::Int(value) => {
            if value.unsigned_abs() > EXACT && !noticed.rounded.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    key = key(),
                    value,
                    "a whole number beyond 2^24 is rounded to f32: an id belongs in `discrete`"
                );
            }
            value as f32
        }
    };
    f32::from_bits(value.to_bits() & mantissa)
}

fn whole(number: Number, key: &dyn Fn() -> String) -> Result<i64, RecordError> {
    match number {
        Number::Int(value) => Ok(value),
        #[allow(clippy::cast_possible_truncation, reason = "whole and in range")]
        Number::Float(value) if value.fract() == 0.0 && value.abs() < i64::MAX as f32 => {
            Ok(value as i64)
        }
        Number::Float(value) => Err(RecordError::NotWhole { key: key(), value }),
    }
}

fn number(
    payload: &[u8],
    entry: Entry,
    key: &dyn Fn() -> String,
) -> Result<Number, RecordError> {
    if let Some(span) = entry.packed {
        let mut chunk = Wire::within(payload, span);
        if entry.is_int {
            let value = chunk.varint()?.cast_signed();
            if chunk.is_empty() {
                return Ok(Number::Int(value));
            }
        } else if let Ok(bytes) = <[u8; 4]>::try_from(chunk.bytes()) {
            return Ok(Number::Float(f32::from_le_bytes(bytes)));
        }
    }
    single(Wire::within(payload, entry.value), key)
}

/// The one number of `feature`, in any encoding.
fn single(feature: Wire<'_>, key: &dyn Fn() -> String) -> Result<Number, RecordError> {
    let mut numbers = Numbers::default();
    let is_number = each_number(feature, |number| numbers.add(number))?;
    match numbers {
        _ if !is_number => Err(RecordError::NoNumber { key: key() }),
        Numbers {
            last: Some(number),
            count: 1,
        } => Ok(number),
        Numbers { count, .. } => Err(RecordError::NotOne {
            key: key(),
            found: count,
        }),
    }
}

#[derive(Default)]
struct Numbers {
    last: Option<Number>,
    count: usize,
}

impl Numbers {
    fn add(&mut self, number: Number) {
        self.last = Some(number);
        self.count += 1;
    }
}

/// Calls `each` for the numbers of `feature`, whose first list decides the kind; whether that is one of numbers.
fn each_number(
    mut feature: Wire<'_>,
    mut each: impl FnMut(Number),
) -> Result<bool, RecordError> {
    let mut kind = None;
    while let Some((number, field)) = feature.field()? {
        let (1..=3, Field::Bytes(mut list)) = (number, field) else {
            continue;
        };
        if *kind.get_or_insert(number) != number {
            continue;
        }
        while let Some((1, value)) = list.field()?.filter(|_| number != 1) {
            push(value, number == 3, &mut each)?;
        }
    }
    Ok(kind != Some(1))
}

fn push(value: Field<'_>, is_int: bool, each: &mut impl FnMut(Number)) -> Result<(), RecordError> {
    match value {
        Field::Fixed32(bytes) if !is_int => each(Number::Float(f32::from_le_bytes(bytes))),
        Field::Varint(value) if is_int => each(Number::Int(value.cast_signed())),
        Field::Bytes(mut chunk) if is_int => {
            while !chunk.is_empty() {
                each(Number::Int(chunk.varint()?.cast_signed()));
            }
        }
        Field::Bytes(chunk) => {
            let (cells, rest) = chunk.bytes().as_chunks::<4>();
            if !rest.is_empty() {
                return Err(chunk.malformed("a packed list of floats is cut short"));
            }
            cells.iter().for_each(|&bytes| each(Number::Float(f32::from_le_bytes(bytes))));
        }
        _ => {}
    }
    Ok(())
}

/// The one packed list of numbers that `feature` consists of, the usual case, and whether they are integers.
pub(crate) fn packed(mut feature: Wire<'_>) -> Option<(Wire<'_>, bool)> {
    let Ok(Some((number @ 2..=3, Field::Bytes(mut list)))) = feature.field() else {
        return None;
    };
    match list.field() {
        Ok(Some((1, Field::Bytes(chunk)))) if list.is_empty() && feature.is_empty() => {
            Some((chunk, number == 3))
        }
        _ => None,
    }
}

impl Missing {
    /// Counts a row of which `found` says what is there, by slot.
    pub(crate) fn add(&mut self, found: &[Option<Entry>]) {
        self.counts.resize(found.len(), 0);
        for (count, entry) in self.counts.iter_mut().zip(found) {
            *count += u64::from(entry.is_none());
        }
        self.rows += 1;
    }

    /// Warns once, for all threads, of parts that no record so far had. `parts` names them, with their slots.
    pub(crate) fn report<'a>(
        &mut self,
        noticed: &Noticed,
        file: &std::path::Path,
        parts: impl Iterator<Item = (usize, &'a str)>,
    ) {
        if self.rows == 0 || noticed.missing.swap(true, Ordering::Relaxed) {
            return;
        }
        let is_missing = |slot: usize| self.counts.get(slot) == Some(&self.rows);
        let missing = parts.filter(|(slot, _)| is_missing(*slot));
        let names: Vec<&str> = missing.map(|(_, name)| name).collect();
        if let Some(first) = names.first() {
            tracing::warn!(
                file = %file.display(),
                records = self.rows,
                count = names.len(),
                first,
                "keys of seg_dense_schema.columns are in none of the first records: they count as 0"
            );
        }
    }
}
