//! Reads features that are made of keys with one number each, as most writers of tables write them.

use std::sync::atomic::{AtomicBool, Ordering};

use super::columns::{Column, Spec};
use super::error::RecordError;
use super::places::Entry;
use super::schema::{Absent, Parts};
use super::wire::{Field, Wire};
use crate::batch::HostValues;

/// Whole numbers up to this size are exact in f32.
pub(crate) const EXACT: u64 = 1 << 24;

/// A number as it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Float(f32),
    Int(i64),
}

/// What is noticed on the way, to be said once.
#[derive(Debug, Default)]
pub(crate) struct Noticed {
    rounded: AtomicBool,
    missing: AtomicBool,
}

impl Noticed {
    /// Whether what is missing has been reported, so that nobody need count it any more.
    pub(crate) fn is_reported(&self) -> bool {
        self.missing.load(Ordering::Relaxed)
    }
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
            None => match parts.absent {
                Absent::Zero => Number::Int(0),
                Absent::Column => return Err(RecordError::NoColumn { key: key() }),
                Absent::Target => return Err(RecordError::NoTarget { key: key() }),
            },
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

fn number(payload: &[u8], entry: Entry, key: &dyn Fn() -> String) -> Result<Number, RecordError> {
    if let Some(span) = entry.packed {
        let mut chunk = Wire::within(payload, span);
        if entry.is_int && !chunk.is_empty() {
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
pub(crate) fn each_number(
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
        while let Some((place, value)) = list.field()? {
            if place == 1 && number != 1 {
                push(value, number == 3, &mut each)?;
            }
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
            cells
                .iter()
                .for_each(|&bytes| each(Number::Float(f32::from_le_bytes(bytes))));
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
        &self,
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
                "keys are in none of the first records: they count as 0"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::columns::Keep;
    use crate::data::encode::ExampleWriter;
    use crate::data::example::{Layout, Scratch};
    use crate::data::schema::{Dtype, Feature, Length};
    use std::sync::Arc;

    fn spec(name: &str, dtype: Dtype, keys: &[&str], required: bool) -> Spec {
        let keys: Vec<String> = keys.iter().map(|&key| key.to_owned()).collect();
        let absent = if required {
            Absent::Column
        } else {
            Absent::Zero
        };
        Spec::new(Feature {
            key: name.to_owned(),
            name: name.into(),
            dtype,
            length: Length::Fixed(keys.len()),
            parts: Some(Arc::new(Parts { keys, absent })),
        })
    }

    fn example(write: impl Fn(&mut ExampleWriter)) -> Vec<u8> {
        let (mut writer, mut payload) = (ExampleWriter::default(), Vec::new());
        write(&mut writer);
        writer.finish(&mut payload);
        payload
    }

    /// The columns that `payloads` make, read one after the other.
    fn read(specs: Vec<Spec>, payloads: &[Vec<u8>]) -> Result<Vec<HostValues>, RecordError> {
        let (layout, mut scratch) = (Layout::new(specs), Scratch::default());
        let mut columns = layout.columns(payloads.len());
        for payload in payloads {
            scratch.read(&layout, payload, &mut columns)?;
        }
        Ok(columns.into_iter().map(|column| column.values).collect())
    }

    #[test]
    fn numbers_of_either_kind_come_in_the_order_of_the_config() {
        let specs = || {
            vec![
                spec("continuous", Dtype::Float, &["b", "a", "none"], false),
                spec("discrete", Dtype::Int64, &["d", "c"], false),
            ]
        };
        let first = example(|writer| {
            writer.floats("a", &[0.5]);
            writer.ints("b", &[-3]);
            writer.strings("unused", [&b"x"[..]]);
            writer.ints("c", &[300]);
            writer.floats("d", &[7.0]);
        });
        // Another order, other kinds, and a key less.
        let second = example(|writer| {
            writer.ints("d", &[1 << 40]);
            writer.ints("a", &[2]);
            writer.floats("b", &[1.5]);
        });
        let found = read(specs(), &[first.clone(), second.clone(), first, second]).unwrap();
        let (floats, ints) = ([-3.0, 0.5, 0.0, 1.5, 2.0, 0.0], [7, 300, 1 << 40, 0]);
        assert_eq!(found[0], HostValues::F32(floats.repeat(2)));
        assert_eq!(found[1], HostValues::I64(ints.repeat(2)));
    }

    #[test]
    fn kept_columns_alone_are_read_and_masked() {
        let mut narrow = spec("continuous", Dtype::Float, &["a", "b", "c"], true);
        narrow.keep = Keep::Picked(vec![0, 2]);
        narrow.mantissa = u32::MAX << 23;
        // `b` is not there, and need not be.
        let payload = example(|writer| {
            writer.floats("c", &[1.75]);
            writer.ints("a", &[3]);
        });
        let found = read(vec![narrow], &[payload]).unwrap();
        assert_eq!(found[0], HostValues::F32(vec![2.0, 1.0]));
    }

    #[test]
    fn a_number_may_be_written_in_any_encoding() {
        // Entries `a`: a float that is not packed, `b`: an integer that is not, `c`: one packed after an empty list.
        let payload = b"\x0a\x2c\
            \x0a\x0c\x0a\x01a\x12\x07\x12\x05\x0d\0\0\0\x3f\
            \x0a\x09\x0a\x01b\x12\x04\x1a\x02\x08\x05\
            \x0a\x0c\x0a\x01c\x12\x07\x1a\0\x1a\x03\x0a\x01\x06\
            \x0a\x03\x0a\x01e";
        let specs = vec![spec(
            "continuous",
            Dtype::Float,
            &["a", "b", "c", "e"],
            false,
        )];
        let found = read(specs, &[payload.to_vec(), payload.to_vec()]).unwrap();
        assert_eq!(found[0], HostValues::F32([0.5, 5.0, 6.0, 0.0].repeat(2)));
    }

    #[test]
    fn records_that_lack_keys_or_turn_them_round_are_read_as_well() {
        let keys: Vec<String> = (0..40).map(|n| format!("key{n}")).collect();
        let names: Vec<&str> = keys.iter().map(String::as_str).collect();
        let value = |record: usize, n: usize| (record * 31 + n * 7) as f32;
        // Other keys each time are left out; every fifth record stands backwards, every third has a key of its own.
        let is_there = |record: usize, n: usize| !(n * n + record).is_multiple_of(3);
        let write = |record: usize, n: usize, writer: &mut ExampleWriter| match (record + n) % 3 {
            _ if !is_there(record, n) => {}
            0 => writer.ints(&keys[n], &[i64::try_from(record * 31 + n * 7).unwrap()]),
            _ => writer.floats(&keys[n], &[value(record, n)]),
        };
        let record = |record: usize| {
            example(|writer| {
                if record.is_multiple_of(3) {
                    writer.ints(&format!("other{record}"), &[1]);
                }
                for n in 0..40 {
                    let n = if record.is_multiple_of(5) { 39 - n } else { n };
                    write(record, n, writer);
                }
            })
        };
        let payloads: Vec<_> = (0..60).map(record).collect();
        let specs = vec![spec("continuous", Dtype::Float, &names, false)];
        let expected = (0..60).flat_map(|record| {
            (0..40).map(move |n| {
                if is_there(record, n) {
                    value(record, n)
                } else {
                    0.0
                }
            })
        });
        let expected = HostValues::F32(expected.collect());
        assert_eq!(read(specs, &payloads).unwrap(), [expected]);
    }

    #[test]
    fn what_is_no_column_is_refused_by_its_key() {
        type Write = fn(&mut ExampleWriter);
        let cases: [(Write, &str); 6] = [
            (
                |writer| writer.strings("a", [&b"1"[..]]),
                "`a` holds strings",
            ),
            (|writer| writer.floats("a", &[1.0, 2.0]), "`a` has 2 values"),
            (|writer| writer.ints("a", &[]), "`a` has 0 values"),
            (|writer| writer.floats("a", &[1.5]), "`a` is 1.5"),
            (|writer| writer.floats("a", &[f32::NAN]), "`a` is NaN"),
            (|writer| writer.ints("b", &[1]), "there is no `a`"),
        ];
        for (write, expected) in cases {
            let specs = vec![spec("discrete", Dtype::Int64, &["a"], true)];
            let error = read(specs, &[example(write)]).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
